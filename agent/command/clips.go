package command

import (
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// The commands of the clips that lie on the camera's card.
var (
	ClipsList = Definition[ClipsQuery, ClipsPage]{Entry{
		"clips.list", cloud.Clips, "", "the clips that lie on the camera's card, newest first"}}
	ClipsRead = Definition[ClipsPiece, ClipsData]{Entry{
		"clips.read", cloud.Clips, "", "a piece of a clip on the card, sealed as it lies there, or of its manifest, or of a gap record"}}
	ClipsUpload = Definition[ClipsNames, ClipsStates]{Entry{
		"clips.upload", cloud.Clips, "", "upload clips that still wait on the card before the others"}}
)

// ClipsQuery pages through the card's clips.
type ClipsQuery struct {
	Before string `json:"before,omitempty"` // a name; older ones follow
	From   string `json:"from,omitempty"`   // RFC 3339: only what begins then or later, by its name
	To     string `json:"to,omitempty"`     // RFC 3339: only what begins earlier
	Limit  int    `json:"limit,omitempty"`  // 0: 100
}

// Validate bounds the page.
func (q *ClipsQuery) Validate() error {
	if q.Limit < 0 || q.Limit > 1000 {
		return fmt.Errorf("limit: is %d, want 0 to 1000", q.Limit)
	}
	from, to, err := q.Times()
	if err == nil && !from.IsZero() && !to.IsZero() && !from.Before(to) {
		err = errors.New("from: is not before to")
	}
	return err
}

// Times reads From and To; zero if there is none.
func (q *ClipsQuery) Times() (from, to time.Time, err error) {
	if q.From != "" {
		if from, err = time.Parse(time.RFC3339, q.From); err != nil {
			return from, to, fmt.Errorf("from: is %.40q, want RFC 3339, as 2026-01-02T03:04:05Z", q.From)
		}
	}
	if q.To != "" {
		if to, err = time.Parse(time.RFC3339, q.To); err != nil {
			return from, to, fmt.Errorf("to: is %.40q, want RFC 3339, as 2026-01-02T03:04:05Z", q.To)
		}
	}
	return from, to, nil
}

// ClipsPage is one page; More is set if older ones follow.
type ClipsPage struct {
	Clips []CardClip `json:"clips"`
	More  bool       `json:"more"`
}

// CardClip is one object on the card: a clip, or with an ending in its name a
// single file.
type CardClip struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"` // clip and manifest together
	Uploaded bool   `json:"uploaded"`
}

// MaxClipsPiece is how much of a file clips.read gives at a time, in bytes: with
// it a reply is no larger than the pieces of three messages.
const MaxClipsPiece = 64 << 10

// The parts of a clip, and what tells of clips that are not there.
const (
	PartClip     = "clip"
	PartManifest = "manifest"
	PartGap      = "gap"
)

// ClipsPiece names a piece of one of a clip's two files, or of a gap record.
type ClipsPiece struct {
	Name   string `json:"name"`   // of the clip or gap, without ending
	Part   string `json:"part"`   // PartClip, PartManifest or PartGap
	Offset int64  `json:"offset"` // in the file, in bytes
	Length int    `json:"length"` // 1 to MaxClipsPiece
}

// Validate refuses what can't be a piece.
func (p *ClipsPiece) Validate() error {
	_, err := cloud.ParseClipName(p.Name)
	switch {
	case err != nil:
		return fmt.Errorf("name: %w", err)
	case p.Part != PartClip && p.Part != PartManifest && p.Part != PartGap:
		return fmt.Errorf("part: is %.20q, want %s, %s or %s", p.Part, PartClip, PartManifest, PartGap)
	case p.Offset < 0:
		return fmt.Errorf("offset: is %d, want 0 or more", p.Offset)
	case p.Length < 1 || p.Length > MaxClipsPiece:
		return fmt.Errorf("length: is %d, want 1 to %d", p.Length, MaxClipsPiece)
	}
	return nil
}

// ClipsData is a piece; shorter than asked for at the end of the file, and empty
// behind it.
type ClipsData struct {
	Data []byte `json:"data"`
	Size int64  `json:"size"` // of the whole file
}

// MaxClipsNames bounds what is named in one command.
const MaxClipsNames = 500

// ClipsNames names clips.
type ClipsNames struct {
	Names []string `json:"names"`
}

// Validate refuses what names no clips.
func (n *ClipsNames) Validate() error {
	if len(n.Names) == 0 || len(n.Names) > MaxClipsNames {
		return fmt.Errorf("names: %d of them, want 1 to %d", len(n.Names), MaxClipsNames)
	}
	for _, name := range n.Names {
		if _, err := cloud.ParseClipName(name); err != nil {
			return fmt.Errorf("names: %w", err)
		}
	}
	return nil
}

// The states of a clip that was to be uploaded.
const (
	UploadWaits   = "waits"    // goes before the others now
	UploadDone    = "uploaded" // the store has it
	UploadMissing = "missing"  // not on the card
)

// ClipsStates tells of each clip that was named what becomes of it.
type ClipsStates struct {
	States map[string]string `json:"states"`
}
