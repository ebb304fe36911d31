package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
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
	health  *health
	boot    string
	lane    spool.Lane

	open, closed atomic.Uint64
}

var errUnbound = errors.New("nobody owns the camera: nothing is recorded")

// Missed tells of pictures that were not recorded; clip.Store.
func (s *clipStore) Missed(clip.Miss) {}

// Create begins a clip; clip.Store.
func (s *clipStore) Create(_ context.Context, start clip.Start) (clip.Sink, error) {
	sink, err := s.create(start)
	if s.failed(err) != nil {
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
	epoch, bindID, bound := s.binding.Binding()
	if !bound {
		return nil, errUnbound
	}
	to, err := seal.ParseRecipients(s.binding.Recipients(cloud.Clips))
	if err != nil {
		return nil, err
	}
	began := wallClock(start.Time)
	k := &clipSink{store: s, start: start, began: began, name: cloud.ClipName(began), to: to,
		head: cloud.Statement{V: 1, Serial: s.id.Serial, Epoch: epoch, BindID: bindID}}
	if k.file, err = s.card.Create(k.name); err != nil {
		return nil, err
	}
	if k.sealed, err = seal.NewWriter(k.file, to); err != nil {
		return nil, errors.Join(err, k.file.Abort())
	}
	return k, nil
}

// wallClock maps a frame's monotonic time to the wall-clock as it is set now.
func wallClock(t time.Time) time.Time {
	now := time.Now()
	return now.Round(0).Add(t.Sub(now)).UTC()
}

// clipSink is one clip being written; clip.Sink.
type clipSink struct {
	store  *clipStore
	start  clip.Start
	began  time.Time
	name   string
	to     seal.Recipients
	head   cloud.Statement
	file   *spool.File
	sealed io.WriteCloser
}

func (k *clipSink) Write(p []byte) (int, error) {
	n, err := k.sealed.Write(p)
	return n, k.store.failed(err)
}

func (k *clipSink) Sync(clip.Info) error { return k.store.failed(k.file.Sync()) }

func (k *clipSink) Abort() {
	k.store.open.Add(^uint64(0))
	k.store.failed(k.file.Abort())
}

// Close seals the end, signs the manifest and commits both to the card.
func (k *clipSink) Close(info clip.Info) error {
	defer k.store.open.Add(^uint64(0))
	if err := k.commit(info); err != nil {
		return k.store.failed(err)
	}
	k.store.closed.Add(1)
	k.store.health.clear("card")
	k.store.health.clear("recording")
	return nil
}

func (k *clipSink) commit(info clip.Info) error {
	if err := k.sealed.Close(); err != nil {
		return errors.Join(err, k.file.Abort())
	}
	token, head, err := k.manifest(info)
	if err == nil {
		err = k.store.chains.advance(k.head.BindID, k.start.Stream, head)
	}
	if err != nil {
		return errors.Join(err, k.file.Abort())
	}
	_, err = k.file.Commit(k.store.lane, []byte(token))
	return err
}

func (k *clipSink) manifest(info clip.Info) (token string, head command.ChainHead, err error) {
	details, err := json.Marshal(cloud.ClipDetails{
		Boot: k.store.boot, Started: k.began.Format("2006-01-02T15:04:05.000Z"),
		DurationMS: info.Duration.Milliseconds(), Frames: info.Frames, FirstFrame: info.FirstFrame,
		Trigger: info.Trigger, Event: info.Event, Cut: info.Cut, Clock: cloud.Clock{Synced: clockSynced(k.began)},
	})
	if err != nil {
		return "", head, err
	}
	sealedDetails, err := seal.Bytes(details, k.to)
	if err != nil {
		return "", head, err
	}
	sum := k.file.SHA256()
	sequence, prev := k.store.chains.next(k.head.BindID, k.start.Stream)
	token, err = seal.Sign(cloud.TypManifest, k.store.id.Signing, cloud.Manifest{
		Statement: k.head, Stream: k.start.Stream, Sequence: sequence, Name: k.name,
		Size: k.file.Size(), SHA256: hex.EncodeToString(sum[:]), Prev: prev, Details: sealedDetails,
	})
	return token, command.ChainHead{Sequence: sequence, Hash: seal.Hash(token)}, err
}

// clockSynced is false for a clock that can't be right: before this program was written.
func clockSynced(t time.Time) bool { return t.Year() >= 2026 }
