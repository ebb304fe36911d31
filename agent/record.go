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
	given   *given
	key     *journalKey
	clock   *clock.Clock
	health  *health

	open, closed atomic.Uint64
	patience     patience // of tellGaps
	cuts         patience // of clips that were cut
	tenure       tenure
	run          ofRun
	compared     bool              // the chains were compared with this card; only of recover
	strange      map[string]writer // clips in open/ that stay, and why; of recover and foreign
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

// Missed tells of pictures that were not recorded; clip.Store. Those of a binding
// before are nobody's any more.
func (s *clipStore) Missed(m clip.Miss) {
	_, since := s.tenure.get()
	if errors.Is(m.Err, errUnbound) || m.To.Before(since) {
		return
	}
	if m.From.Before(since) {
		m.From = since
	}
	s.gaps.missed(m)
}

// Create begins a clip; clip.Store.
func (s *clipStore) Create(_ context.Context, start clip.Start) (clip.Sink, error) {
	sink, err := s.create(start)
	if s.failed(err) != nil {
		if !errors.Is(err, errUnbound) && !errors.Is(err, errRebound) {
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
	case err == nil, errors.Is(err, errRebound):
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
	if bindID, since := s.tenure.get(); head.BindID != bindID || start.Time.Before(since) {
		return nil, errRebound // the picture is of the owner before, or may be
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
	if k.notes, err = s.key.of(head.BindID, k.name); err != nil {
		return nil, err
	}
	if k.file, err = s.card.Create(k.name); err != nil {
		return nil, err
	}
	if err := k.begin(); err != nil {
		return nil, errors.Join(err, k.file.Abort())
	}
	s.run.begin(k.name)
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
	notes   *noteChain
	sealed  io.WriteCloser
	plain   int64 // bytes written, in the clear
	header  int64 // bytes of the file before its first chunk
	synced  []clipNote
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
	Plain   int64  `json:"plain"`         // bytes, in the clear
	Size    int64  `json:"size"`          // of the file
	End     bool   `json:"end,omitempty"` // it is complete
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
	k.header = k.file.Size()
	return err
}

func (k *clipSink) note(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return k.file.Note(k.notes.line(line, k.file.SHA256()))
}

func (k *clipSink) Write(p []byte) (int, error) {
	n, err := k.sealed.Write(p)
	k.plain += int64(n)
	return n, k.store.failed(err)
}

func (k *clipSink) Sync(info clip.Info) error { return k.store.failed(k.sync(info, false)) }

func (k *clipSink) sync(info clip.Info, end bool) error {
	n := clipNote{Frames: info.Frames, Last: info.LastFrame, MS: info.Duration.Milliseconds(), Plain: k.plain,
		Size: k.file.Size(), End: end, Trigger: info.Trigger, Event: info.Event, Urgent: info.Urgent}
	err := k.note(n)
	if err == nil {
		err = k.file.Sync()
	}
	if err == nil {
		k.synced = append(k.synced, n)
	}
	return err
}

// Stale tells that the clip should end with this GOP: it is sealed to somebody
// who may not open clips any more.
func (k *clipSink) Stale() bool {
	now := k.store.binding.Recipients(cloud.Clips)
	return slices.ContainsFunc(k.members, func(m string) bool { return !slices.Contains(now, m) })
}

// Fail leaves what is whole of what was synced to recover, which closes it as cut,
// now or when the card is back; clip.Sink. What the recorder records again is
// never in both: recover keeps to what is told here.
func (k *clipSink) Fail(newest uint64) uint64 {
	s := k.store
	s.open.Add(^uint64(0))
	if _, bindID, _ := s.binding.Binding(); bindID != k.head.BindID {
		s.run.end(k.name, clipNote{})
		s.failed(k.file.Abort())
		return newest + 1
	}
	kept := k.kept()
	if kept.Frames == 0 {
		s.run.end(k.name, clipNote{})
		s.failed(k.file.Abort())
		return k.head.Details.FirstFrame
	}
	s.failed(k.file.Leave())
	s.run.end(k.name, k.synced[len(k.synced)-1])
	return kept.Last + 1
}

// kept is the last fragment that is wholly in what was synced, as seal.Whole tells
// of it; the card may be gone.
func (k *clipSink) kept() (last clipNote) {
	if len(k.synced) == 0 {
		return last
	}
	newest := k.synced[len(k.synced)-1]
	if newest.End {
		return newest
	}
	const plain = 64 << 10 // of a chunk of age, which has a tag
	whole := (newest.Size - k.header) / (plain + 16) * plain
	for _, n := range k.synced {
		if n.Plain <= whole {
			last = n
		}
	}
	return last
}

// Close seals the end, signs the manifest and commits both to the card.
func (k *clipSink) Close(info clip.Info) error {
	if err := k.store.failed(k.close(info)); err != nil {
		return err
	}
	k.store.open.Add(^uint64(0))
	k.store.run.forget(k.name)
	k.store.closed.Add(1)
	k.store.gaps.recorded(k.head.Stream, k.began)
	k.store.health.clear("card")
	k.store.health.clear("recording")
	return nil
}

func (k *clipSink) close(info clip.Info) error {
	if err := k.sealed.Close(); err != nil {
		return err
	}
	if err := k.sync(info, true); err != nil {
		return err
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
// card. After an error of the card the file is left, after others still open.
func (s *clipStore) commit(file *spool.File, name string, head clipHead, lane spool.Lane, to seal.Recipients) error {
	token, n, err := s.manifest(file, name, head, to)
	if err != nil {
		return err
	}
	_, err = file.CommitOrLeave(lane, []byte(token))
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
