package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/clock"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/media/clip"
)

// clipStore is where the recorder's clips go: sealed to all members with the
// clips permission while they are written, onto the card, under a signed
// manifest. Plaintext never leaves memory. M3, P5.
type clipStore struct {
	id      *identity.Identity
	binding *bind.Store
	card    *spool.Spool
	chains  *chains
	gaps    *gaps
	clock   *clock.Clock
	health  *health

	open, closed atomic.Uint64
	patience     patience // of tellGaps
}

var (
	errUnbound = errors.New("nobody owns the camera: nothing is recorded")
	errRebound = errors.New("the camera has another binding than when the clip began")
)

// wireTime is how statements write a time.
const wireTime = "2006-01-02T15:04:05.000Z"

func timeText(t time.Time) string { return t.UTC().Format(wireTime) }

// statement is what everything that is signed now begins with, and to whom it is sealed.
func (s *clipStore) statement() (cloud.Statement, []string, error) {
	epoch, bindID, bound := s.binding.Binding()
	if !bound {
		return cloud.Statement{}, nil, errUnbound
	}
	return cloud.Statement{V: 1, Serial: s.id.Serial, Epoch: epoch, BindID: bindID}, s.binding.Recipients(cloud.Clips), nil
}

// Missed tells of pictures that were not recorded; clip.Store.
func (s *clipStore) Missed(m clip.Miss) {
	if !errors.Is(m.Err, errUnbound) {
		s.gaps.missed(m)
	}
}

// Create begins a clip; clip.Store.
func (s *clipStore) Create(_ context.Context, start clip.Start) (clip.Sink, error) {
	sink, err := s.create(start)
	if s.failed(err) != nil {
		if !errors.Is(err, errUnbound) {
			s.gaps.begin(start.Stream, cloud.GapCard, start.Time)
		}
		return nil, err
	}
	s.open.Add(1)
	return sink, nil
}

// failed tells the owner why nothing is recorded: it is the card's fault, or it
// is ours. It returns err.
func (s *clipStore) failed(err error) error {
	switch bad := s.card.Stats().Err; {
	case err == nil:
	case bad != nil:
		s.health.set("card", bad.Error())
	default:
		s.health.set("recording", err.Error())
	}
	return err
}

func (s *clipStore) create(start clip.Start) (*clipSink, error) {
	head, texts, err := s.statement()
	if err != nil {
		return nil, err
	}
	to, err := seal.ParseRecipients(texts)
	if err != nil {
		return nil, err
	}
	began := s.clock.At(start.Time)
	k := &clipSink{store: s, name: cloud.ClipName(began), to: to, members: texts, began: began,
		head: clipHead{Statement: head, Stream: start.Stream, Details: cloud.ClipDetails{
			Boot: s.clock.Boot(), Started: timeText(began), FirstFrame: start.FirstFrame,
			UptimeMS: s.clock.Uptime(start.Time).Milliseconds(), Clock: s.clock.Trust(),
		}}}
	if k.file, err = s.card.Create(k.name); err != nil {
		return nil, err
	}
	if err := k.begin(); err != nil {
		return nil, errors.Join(err, k.file.Abort())
	}
	return k, nil
}

// clipSink is one clip being written; clip.Sink.
type clipSink struct {
	store   *clipStore
	name    string
	began   time.Time
	head    clipHead
	to      seal.Recipients
	members []string // their recipients
	file    *spool.File
	sealed  io.WriteCloser
	plain   int64 // bytes written, in the clear
}

// clipHead is the first line of a clip's journal: what its manifest will say, as
// far as it is known when it begins.
type clipHead struct {
	cloud.Statement
	Stream  string            `json:"stream"`
	Details cloud.ClipDetails `json:"details"`
}

// clipNote is every later line: what the file holds up to the fragment's end.
type clipNote struct {
	Frames  int    `json:"frames"`
	Last    uint64 `json:"last"`
	MS      int64  `json:"ms"`
	Plain   int64  `json:"plain"` // bytes, in the clear
	Size    int64  `json:"size"`  // of the file
	Trigger string `json:"trigger,omitempty"`
	Event   string `json:"event,omitempty"`
	Urgent  bool   `json:"urgent,omitempty"`
}

func (k *clipSink) begin() error {
	if err := k.note(k.head); err != nil {
		return err
	}
	var err error
	k.sealed, err = seal.NewWriter(k.file, k.to)
	return err
}

func (k *clipSink) note(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return k.file.Note(line)
}

func (k *clipSink) Write(p []byte) (int, error) {
	n, err := k.sealed.Write(p)
	k.plain += int64(n)
	return n, k.store.failed(err)
}

func (k *clipSink) Sync(info clip.Info) error {
	err := k.note(clipNote{Frames: info.Frames, Last: info.LastFrame, MS: info.Duration.Milliseconds(), Plain: k.plain,
		Size: k.file.Size(), Trigger: info.Trigger, Event: info.Event, Urgent: info.Urgent})
	if err == nil {
		err = k.file.Sync()
	}
	return k.store.failed(err)
}

// Stale tells that the clip should end with this GOP: it is sealed to somebody
// who may not open clips any more.
func (k *clipSink) Stale() bool {
	now := k.store.binding.Recipients(cloud.Clips)
	return slices.ContainsFunc(k.members, func(m string) bool { return !slices.Contains(now, m) })
}

func (k *clipSink) Abort() {
	k.store.open.Add(^uint64(0))
	k.store.failed(k.file.Abort())
}

// Close seals the end, signs the manifest and commits both to the card.
func (k *clipSink) Close(info clip.Info) error {
	defer k.store.open.Add(^uint64(0))
	if err := k.store.failed(k.close(info)); err != nil {
		return err
	}
	k.store.closed.Add(1)
	k.store.gaps.recorded(k.head.Stream, k.began)
	k.store.health.clear("card")
	k.store.health.clear("recording")
	return nil
}

func (k *clipSink) close(info clip.Info) error {
	if err := k.sealed.Close(); err != nil {
		return errors.Join(err, k.file.Abort())
	}
	d := &k.head.Details
	d.DurationMS, d.Frames, d.LastFrame = info.Duration.Milliseconds(), info.Frames, info.LastFrame
	d.Trigger, d.Event, d.Cut = info.Trigger, info.Event, false
	return k.store.commit(k.file, k.name, k.head, lane(info.Urgent), k.to)
}

func lane(urgent bool) spool.Lane {
	if urgent {
		return spool.Alarm
	}
	return spool.Routine
}

// commit signs the manifest of a file that is complete, and puts both on the
// card. After an error the file is given up.
func (s *clipStore) commit(file *spool.File, name string, head clipHead, lane spool.Lane, to seal.Recipients) error {
	token, n, err := s.manifest(file, name, head, to)
	if err != nil {
		return errors.Join(err, file.Abort())
	}
	_, err = file.Commit(lane, []byte(token))
	s.chains.done(n, err)
	return err
}

func (s *clipStore) manifest(file *spool.File, name string, head clipHead, to seal.Recipients) (string, number, error) {
	if _, bindID, _ := s.binding.Binding(); bindID != head.BindID {
		return "", number{}, errRebound
	}
	details, err := sealDetails(head.Details, to)
	if err != nil {
		return "", number{}, err
	}
	sum := file.SHA256()
	return s.chains.sign(head.BindID, head.Stream, name, func(sequence uint64, prev string) (string, string, error) {
		return signed(cloud.TypManifest, s.id, cloud.Manifest{
			Statement: head.Statement, Stream: head.Stream, Sequence: sequence, Name: name,
			Size: file.Size(), SHA256: hex.EncodeToString(sum[:]), Prev: prev, Details: details,
		})
	})
}

// signed signs a statement, and names it.
func signed(typ string, id *identity.Identity, payload any) (token, hash string, err error) {
	token, err = seal.Sign(typ, id.Signing, payload)
	return token, seal.Hash(token), err
}

// sealDetails seals what only members may know.
func sealDetails(details any, to seal.Recipients) ([]byte, error) {
	b, err := json.Marshal(details)
	if err != nil {
		return nil, fmt.Errorf("details: %w", err)
	}
	return seal.Bytes(b, to)
}
