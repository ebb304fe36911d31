package talk

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Desk gives the floor to one talker at a time. Its methods may be called from
// any goroutine; Run by one at a time, again after it has returned.
type Desk struct {
	speaker Speaker
	cfg     Config
	wake    chan struct{} // has one when Run should look again

	mu      sync.Mutex
	ctx     context.Context // of Run; nil: it does not run
	shut    string          // why nobody may talk; empty: they may
	turn    *turn           // who has the floor; nil: nobody
	playing *turn           // what Run is at, perhaps the end of an earlier turn
	stats   Stats
	failLog time.Time // the next line about a failure may be written then
	hidden  int       // failures since the last such line
}

// New makes a desk before a speaker. Nobody can talk before Run.
func New(speaker Speaker, cfg Config) *Desk {
	if cfg.Lease <= 0 {
		cfg.Lease = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Desk{speaker: speaker, cfg: cfg, wake: make(chan struct{}, 1)}
}

// Able tells whether there is a speaker that takes what a desk can give: G.711
// or L16. AAC and Opus it can't make.
func (d *Desk) Able() bool {
	_, ok := best(d.speaker.SpeakerFormats())
	return ok
}

// Join makes a talker; the name is for log and status.
func (d *Desk) Join(name string) *Talker { return &Talker{desk: d, name: name} }

// Talking tells who has the floor.
func (d *Desk) Talking() (name string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.holder(time.Now()); u != nil {
		return u.talker.name, true
	}
	return "", false
}

// Shut takes the floor away at once, and refuses all packets until Open.
func (d *Desk) Shut(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = reason
	d.silence()
}

// Open ends Shut.
func (d *Desk) Open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = ""
}

// Stats returns the counts of this moment.
func (d *Desk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Run plays until ctx ends; then the floor is lost, the speaker is closed, and
// it returns nil. Without Run, talking is shut off.
func (d *Desk) Run(ctx context.Context) error {
	if !d.start(ctx) {
		return errors.New("intercom: it runs already")
	}
	defer d.stop()
	for {
		for u := d.next(); u != nil; u = d.next() {
			d.serve(u)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
	}
}

func (d *Desk) start(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx != nil {
		return false
	}
	d.ctx = ctx
	return true
}

func (d *Desk) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silence()
	d.ctx = nil
}

// silence ends what is played and what is to be. The caller holds the lock.
func (d *Desk) silence() {
	for _, u := range []*turn{d.turn, d.playing} {
		if u != nil {
			u.cancel()
		}
	}
	d.turn = nil
}

// next is the turn that Run should serve.
func (d *Desk) next() *turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holder(time.Now())
	d.playing = d.turn
	return d.playing
}

// done forgets a turn that Run has served.
func (d *Desk) done(u *turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u.cancel()
	d.playing = nil
	if d.turn == u {
		d.turn = nil
	}
}

// holder is the turn that has the floor. The caller holds the lock.
func (d *Desk) holder(now time.Time) *turn {
	u := d.turn
	if u != nil && (u.ctx.Err() != nil || now.Sub(u.last) >= d.cfg.Lease) {
		u.cancel()
		d.turn = nil
		return nil
	}
	if u == nil || u.ending {
		return nil
	}
	return u
}

// look wakes Run.
func (d *Desk) look() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// failed tells the talker and, at most once a second, the log.
func (d *Desk) failed(u *turn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u.err = err
	d.stats.Errors++
	if now := time.Now(); now.Before(d.failLog) {
		d.hidden++
	} else {
		d.cfg.Log.Warn("intercom: the speaker fails", zap.String("talker", u.talker.name), zap.Error(err), zap.Int("hidden", d.hidden))
		d.failLog, d.hidden = now.Add(time.Second), 0
	}
}
