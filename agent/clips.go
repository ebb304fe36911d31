package agent

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/time/rate"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// Reading of clips over sessions is what may wait: it is held to a rate, and to
// one piece at a time, so that commands, live and recording have card and uplink.
const (
	readRate  = 4 << 20 // bytes a second, all members together
	readBurst = 2 * command.MaxClipsPiece
)

// cardReader lets one member at a time read from the card, at its rate.
type cardReader struct {
	turn chan struct{}
	rate *rate.Limiter
}

func newCardReader() cardReader {
	return cardReader{make(chan struct{}, 1), rate.NewLimiter(readRate, readBurst)}
}

// wait waits until n bytes may be read; leave is to be called after it, if it
// succeeded.
func (r cardReader) wait(ctx context.Context, n int) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.rate.WaitN(ctx, n); err != nil {
		r.leave()
		return err
	}
	return nil
}

func (r cardReader) leave() { <-r.turn }

func (a *Agent) clipsList(_ context.Context, _ string, q command.ClipsQuery) (command.ClipsPage, error) {
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	from, to, err := q.Times()
	if err != nil {
		return command.ClipsPage{}, err
	}
	entries, err := a.card.List(spool.Query{Before: q.Before, From: from, To: to, Limit: limit + 1})
	if err != nil {
		return command.ClipsPage{}, err
	}
	page := command.ClipsPage{Clips: []command.CardClip{}, More: len(entries) > limit}
	for _, e := range entries[:min(limit, len(entries))] {
		page.Clips = append(page.Clips, command.CardClip(e))
	}
	return page, nil
}

// clipsRead gives a piece of a file as it lies on the card: sealed, or signed.
func (a *Agent) clipsRead(ctx context.Context, _ string, p command.ClipsPiece) (command.ClipsData, error) {
	if err := a.reads.wait(ctx, p.Length); err != nil {
		return command.ClipsData{}, err
	}
	defer a.reads.leave()
	ext := map[string]string{command.PartClip: cloud.ExtClip, command.PartManifest: cloud.ExtManifest, command.PartGap: cloud.ExtGap}[p.Part]
	f, err := a.card.Open(p.Name + ext)
	if errors.Is(err, fs.ErrNotExist) {
		return command.ClipsData{}, cloud.Refuse(cloud.CodeArgument, "clips.read: %s is not on the card", p.Name)
	}
	if err != nil {
		return command.ClipsData{}, err
	}
	defer f.Close()
	return readPiece(f, p)
}

func readPiece(f io.ReadSeeker, p command.ClipsPiece) (command.ClipsData, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return command.ClipsData{}, err
	}
	d := command.ClipsData{Data: []byte{}, Size: size}
	if p.Offset >= size {
		return d, nil
	}
	if _, err := f.Seek(p.Offset, io.SeekStart); err != nil {
		return command.ClipsData{}, err
	}
	d.Data = make([]byte, min(int64(p.Length), size-p.Offset))
	_, err = io.ReadFull(f, d.Data)
	return d, err
}

// clipsUpload puts clips that wait before the other routine ones.
func (a *Agent) clipsUpload(_ context.Context, _ string, n command.ClipsNames) (command.ClipsStates, error) {
	out := command.ClipsStates{States: map[string]string{}}
	for _, name := range n.Names {
		waits, err := a.card.Prefer(name)
		if err != nil {
			return out, err
		}
		switch {
		case waits:
			out.States[name] = command.UploadWaits
		case a.card.Has(name):
			out.States[name] = command.UploadDone
		default:
			out.States[name] = command.UploadMissing
		}
	}
	return out, nil
}
