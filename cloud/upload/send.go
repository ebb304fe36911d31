package upload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// send is the loop of one sender: take, bring into the store, release.
func (u *Uploader) send(ctx context.Context, i int) {
	for {
		one, cancel := context.WithCancelCause(ctx)
		j, err := u.q.take(ctx, i, cancel)
		if err != nil {
			cancel(nil)
			return
		}
		u.askAhead(ctx)
		err = u.object(one, j)
		if cause := context.Cause(one); cause != nil && ctx.Err() == nil {
			err = cause // instead of "context canceled"
		}
		cancel(nil)
		u.settle(ctx, j, err)
		u.q.release(i)
	}
}

// settle decides what becomes of an object after an attempt: the one place.
func (u *Uploader) settle(ctx context.Context, j *job, err error) {
	switch {
	case err == nil:
		u.confirmed(j)
	case ctx.Err() != nil:
		// Run returns it to the card.
	case !u.cfg.Spool.Pending(j.Name) && (!u.orphan(j) || errors.Is(err, errCard) || poisoned(err)):
		u.gone(j)
	case !u.owned(j.bind):
		// What was recorded for one owner never goes to another: the card keeps it.
		u.q.drop(j)
		u.cfg.Spool.Return(j.Object, 0)
	case errors.Is(err, errNotNow):
		u.q.pause(u.cfg.MaxWait)
	case errors.Is(err, errCard):
		u.setAside(j, unreadableFor, err)
	case poisoned(err):
		// Nothing is wrong with the way, only with this object: it steps aside.
		u.setAside(j, asideFor, err)
	default:
		u.failed(fmt.Errorf("uploading %s: %w", j.Name, err), u.q.failed(retryAfter(err)))
	}
}

// object stores the parts in order: a manifest in the store says that its clip
// is there, too.
func (u *Uploader) object(ctx context.Context, j *job) error {
	if bind, ok := u.cfg.Prefix(); !ok || bind != j.bind {
		return errNotNow
	}
	if !u.cfg.Spool.Pending(j.Name) && !u.orphan(j) {
		return fmt.Errorf("%w: given up or wiped meanwhile", fs.ErrNotExist)
	}
	if j.manifest == nil {
		j.manifest = u.readManifest(j)
	}
	for i, p := range j.Parts {
		if err := u.part(ctx, j, i); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// orphan tells whether the clip is in the store, or may be, for the present owner,
// and its manifest is here, so that it can be finished without the card.
func (u *Uploader) orphan(j *job) bool {
	bind, ok := u.cfg.Prefix()
	return ok && bind == j.bind && j.manifest != nil && j.parts[0] != unsent
}

// readManifest returns the manifest of a clip; nil if it can't be read now, then it
// is read when its turn comes, or if it is too large for memory.
func (u *Uploader) readManifest(j *job) []byte {
	if len(j.Parts) != 2 || j.Parts[1].Size > maxManifest {
		return nil
	}
	f, err := u.cfg.Spool.Open(j.Parts[1].Name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, j.Parts[1].Size)
	if _, err := io.ReadFull(f, data); err != nil || sha256.Sum256(data) != j.Parts[1].SHA256 {
		return nil
	}
	return data
}

// maxManifest is how much of a manifest is held in memory.
const maxManifest = 64 << 10

// openPart opens a file of an object: from the card, or what was read of it before.
func (u *Uploader) openPart(j *job, i int) (io.ReadCloser, error) {
	if i == 1 && j.manifest != nil {
		return io.NopCloser(bytes.NewReader(j.manifest)), nil
	}
	return u.cfg.Spool.Open(j.Parts[i].Name)
}

// part brings one file into the store. The look alone counts (R2): what was sent
// is looked at, what is not there is sent. A refused grant is asked anew once.
func (u *Uploader) part(ctx context.Context, j *job, i int) error {
	if j.parts[i] == there {
		return nil
	}
	want := u.rules.expect(cloud.ObjectKey(u.cfg.Serial, j.bind, j.Parts[i].Name), j.Parts[i])
	err := u.step(ctx, want, j, i, false)
	if refused(err) {
		u.forgetGrant(j, i)
		err = u.step(ctx, want, j, i, true)
	}
	if refused(err) || errors.Is(err, ErrGrant) {
		u.forgetGrant(j, i)
	}
	if wrongContent(err) {
		return u.recount(j, i, err)
	}
	return err
}

// recount reads a file that the store refuses: the hash of one that was found at
// start is its manifest's, and the card may hold something else by now. That is
// sent as it is, for what the card holds is all there is; its manifest tells.
func (u *Uploader) recount(j *job, i int, refusal error) error {
	p := j.Parts[i]
	f, err := u.cfg.Spool.Open(p.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", errCard, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, f, p.Size); err != nil {
		return fmt.Errorf("%w: %w", errCard, err)
	}
	sum := [32]byte(h.Sum(nil))
	if sum == p.SHA256 {
		return refusal
	}
	u.cfg.Log.Error("a file on the card is not what its manifest says; it is uploaded as it is", zap.String("file", p.Name))
	u.q.setSum(j, i, sum)
	return fmt.Errorf("the card holds something else than was recorded: %v", refusal) //nolint:errorlint // tried again
}

// step is one attempt; fresh tells that its grant has not been refused yet.
func (u *Uploader) step(ctx context.Context, want expectation, j *job, i int, fresh bool) error {
	if j.parts[i] == maybe {
		// Cheaper than to send it again, and a lost answer is found. A store that
		// does not let us list says 403 of what is not there.
		err := u.look(ctx, want, j, i)
		if !missing(err) && !(fresh && refused(err)) {
			return err
		}
		j.parts[i] = unsent
	}
	code, err := u.put(ctx, want, j, i)
	if err != nil {
		return err
	}
	err = u.look(ctx, want, j, i)
	switch {
	case missing(err):
		j.parts[i] = unsent
		return fmt.Errorf("the store has answered PUT with %d, but has not stored it: %w", code, err)
	case errors.Is(err, ErrMismatch):
		j.parts[i] = unsent
		if code < 300 { // we have just stored it: tried again before it counts as somebody else's
			return fmt.Errorf("the store has answered PUT with %d, but: %v", code, err) //nolint:errorlint // its kind is another one
		}
	}
	return err
}

// put sends one file. 412 is no error: something is there, the look decides.
func (u *Uploader) put(ctx context.Context, want expectation, j *job, i int) (code int, err error) {
	g, err := u.grant(ctx, want, j, i)
	if err != nil {
		return 0, err
	}
	p := j.Parts[i]
	f, err := u.openPart(j, i)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errCard, err)
	}
	defer f.Close()
	body := &cardBody{r: f, size: p.Size, way: func() error { return u.q.giveWay(ctx, j, u.store.stall/8) }, urgent: j.class < routine}
	u.q.sends(j, i, body)
	code, err = u.store.put(ctx, g.Put, body)
	if err == nil || body.sent.Load() == p.Size {
		j.parts[i] = maybe
	}
	return code, err
}

// look asks what is in the store.
func (u *Uploader) look(ctx context.Context, want expectation, j *job, i int) error {
	g, err := u.grant(ctx, want, j, i)
	if err == nil {
		err = u.store.look(ctx, g.Head, want)
	}
	if err == nil {
		j.parts[i] = there
	}
	return err
}

// grant returns a checked grant that is valid now, asked ahead or asked anew.
func (u *Uploader) grant(ctx context.Context, want expectation, j *job, i int) (cloud.Grant, error) {
	a := u.asked(ctx, j, i)
	select {
	case <-a.done:
	case <-ctx.Done():
		return cloud.Grant{}, ctx.Err()
	}
	if a.err != nil {
		return a.grant, a.err
	}
	return a.grant, want.check(a.grant)
}

// asked returns the question for a part's grant, put anew if need be.
func (u *Uploader) asked(ctx context.Context, j *job, i int) *ask {
	u.q.mu.Lock()
	defer u.q.mu.Unlock()
	if j.asks[i].stale(time.Now()) {
		j.asks[i] = u.startAsk(ctx, j, i)
	}
	return j.asks[i]
}

func (u *Uploader) forgetGrant(j *job, i int) {
	u.q.mu.Lock()
	defer u.q.mu.Unlock()
	j.asks[i] = nil
}

// startAsk asks the cloud; the answer comes when it comes.
func (u *Uploader) startAsk(ctx context.Context, j *job, i int) *ask {
	a := &ask{done: make(chan struct{})}
	p := j.Parts[i]
	q := u.rules.expect(cloud.ObjectKey(u.cfg.Serial, j.bind, p.Name), p).request
	u.asks.Go(func() {
		defer close(a.done)
		began := time.Now()
		a.err = u.cfg.Ask(ctx, cloud.AskGrant, q, &a.grant)
		a.until = began.Add(validity(a.grant))
	})
	return a
}

// askAhead asks grants for the objects that go next, while others are sent.
func (u *Uploader) askAhead(ctx context.Context) {
	bind, ok := u.cfg.Prefix()
	if !ok {
		return
	}
	now := time.Now()
	u.q.mu.Lock()
	defer u.q.mu.Unlock()
	if u.q.until.After(now) {
		return // nothing works at present
	}
	for _, j := range u.q.jobs {
		if u.q.isSending(j) || j.bind != bind {
			continue // its sender asks, or it goes back
		}
		for i := range j.Parts {
			if j.parts[i] != there && j.asks[i].stale(now) {
				j.asks[i] = u.startAsk(ctx, j, i)
			}
		}
	}
}

// validity is how long a grant is good for, a margin taken off: by what its
// signature says, for our clock may be wrong.
func validity(g cloud.Grant) time.Duration {
	life := defaultGrant
	if u, err := url.Parse(g.Head.URL); err == nil {
		if s, err := strconv.Atoi(u.Query().Get("X-Amz-Expires")); err == nil && s > 0 {
			life = min(time.Duration(min(s, 1<<20))*time.Second, time.Hour)
		}
	}
	return life - min(life/4, 30*time.Second)
}

// asideFor is how long an object rests that was refused for itself, and
// unreadableFor one that the card does not give.
const (
	asideFor      = time.Hour
	unreadableFor = 10 * time.Minute
)

func (u *Uploader) confirmed(j *job) {
	if err := u.cfg.Spool.Release(j.Object); err != nil {
		u.cfg.Log.Warn("object is in the store, but the card failed", zap.Error(err))
	}
	u.q.drop(j)
	u.q.succeeded()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.st.Confirmed++
	u.st.Bytes += uint64(j.Size())
	u.st.LastError = nil
	u.tellLocked(j.Name, nil)
	u.cfg.Log.Debug("object confirmed in the store", zap.String("object", j.Name), zap.Stringer("lane", j.Lane))
}

// gone forgets an object that the card has not any more.
func (u *Uploader) gone(j *job) {
	u.q.drop(j)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tellLocked(j.Name, fmt.Errorf("%s is not on the card any more: %w", j.Name, fs.ErrNotExist))
}

func (u *Uploader) setAside(j *job, wait time.Duration, err error) {
	u.q.drop(j)
	u.cfg.Spool.Return(j.Object, wait)
	u.mu.Lock()
	u.st.Refused++
	u.st.LastError = fmt.Errorf("uploading %s: %w", j.Name, err)
	u.mu.Unlock()
	u.cfg.Log.Error("object refused, kept on the card and tried again later",
		zap.String("object", j.Name), zap.Duration("retry_in", wait), zap.Error(err))
}

func (u *Uploader) failed(err error, wait time.Duration) {
	u.mu.Lock()
	u.st.Retries++
	u.st.LastError = err
	u.mu.Unlock()
	u.cfg.Log.Warn("upload failed", zap.Error(err), zap.Duration("retry_in", wait.Round(time.Millisecond)))
}
