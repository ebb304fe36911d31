package sim

import (
	"context"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// MaxBehind is how many pictures a late reader still gets.
const MaxBehind = 25

// maxLate is how old they are at most, and sound too.
const maxLate = 2 * time.Second

// video is one running stream. Next owns what is below "reader's".
type video struct {
	board  *Board
	name   string
	ticker *ticker

	mu   sync.Mutex
	cfg  hal.VideoConfig
	key  bool   // the next frame must be a key frame
	last uint64 // number of the newest frame encoded

	// reader's:
	painter *painter
	encoder *h264.Encoder
	rate    *h264.Rate
	next    time.Duration // capture time of the frame to encode
	seq     uint64
	since   int // frames since the last key frame
	lost    uint64
	made    bool // unit is encoded and waits for its capture time
	unit    hal.AccessUnit
	link    link
	handed  time.Duration // when the last frame was handed over
}

// newVideo prepares a stream; the caller holds the board's lock.
func newVideo(b *Board, name string, cfg hal.VideoConfig) *video {
	v := &video{board: b, name: name, cfg: cfg, key: true, ticker: newTicker("stream "+name, b.start)}
	v.link = newLink(b, v.ticker.now())
	w, h := cfg.Width, cfg.Height
	if v.link.wrong {
		w, h = otherSize(w, h)
	}
	bd := b.backdropLocked(w, h)
	v.painter = newPainter(bd, b.title, b.seed^uint64(w)<<32)
	v.encoder = h264.NewEncoder(w, h, cfg.FPS)
	v.rate = h264.NewRate(bd.still.MBW * bd.still.MBH)
	v.next = tick(tickAfter(v.ticker.now(), cfg.FPS), cfg.FPS)
	return v
}

// Config implements [hal.VideoStream].
func (v *video) Config() hal.VideoConfig {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cfg
}

// Close implements [hal.VideoStream].
func (v *video) Close() error {
	v.ticker.close()
	v.board.mu.Lock()
	defer v.board.mu.Unlock()
	if v.board.open[v.name] == v {
		delete(v.board.open, v.name)
	}
	return nil
}

func (v *video) requestKey() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = true
}

// newest is the number of the frame encoded last.
func (v *video) newest() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

func (v *video) tune(patch hal.VideoConfig) hal.VideoConfig {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cfg = merge(v.cfg, patch)
	return v.cfg
}

// Next implements [hal.VideoStream]. A frame that was encoded when ctx ended
// comes with the next call.
func (v *video) Next(ctx context.Context) (hal.AccessUnit, error) {
	for {
		if err := v.prepare(ctx); err != nil {
			return hal.AccessUnit{}, err
		}
		stalled, err := v.wait(ctx, v.unit.Time.Sub(v.board.start))
		if err != nil {
			return hal.AccessUnit{}, err
		}
		if !stalled {
			break
		}
		// Encoded ahead, but never captured.
		v.made, v.lost = false, v.lost+v.unit.Lost+1
		v.requestKey()
		v.skipMissed(0)
	}
	au := v.unit
	au.Time = au.Time.Add(v.link.skew)
	v.made, v.unit, v.handed = false, hal.AccessUnit{}, v.ticker.now()
	return au, nil
}

// prepare encodes the next frame, half an interval before its time.
func (v *video) prepare(ctx context.Context) error {
	if v.made {
		return nil
	}
	interval := time.Second / time.Duration(v.Config().FPS)
	stalled, err := v.wait(ctx, v.next-interval/2)
	if err != nil {
		return err
	}
	behind := tick(MaxBehind, v.Config().FPS)
	if stalled {
		behind = 0
	}
	v.skipMissed(min(behind, maxLate))
	v.encode()
	return nil
}

// wait waits until at, and longer while the sensor stalls, which it tells, or
// is slow. What breaks the device ends it.
func (v *video) wait(ctx context.Context, at time.Duration) (stalled bool, err error) {
	for {
		if err := v.ticker.err(ctx); err != nil {
			return stalled, err
		}
		now := v.ticker.now()
		s := v.link.look(now, v.handed)
		at := max(at, s.earliest)
		switch {
		case s.err != nil:
			return stalled, failed("stream "+v.name, s.err)
		case s.stalled:
			stalled, at = true, s.border
		case now >= at:
			return stalled, nil
		}
		if err := v.ticker.wait(ctx, min(at, s.border), s.changed); err != nil {
			return stalled, err
		}
	}
}

// skipMissed drops the frames of a reader that is so late or later.
func (v *video) skipMissed(late time.Duration) {
	now, fps := v.ticker.now(), v.Config().FPS
	if now-v.next <= late {
		return
	}
	first := tickAfter(v.next-1, fps)
	next := tickAfter(now, fps)
	v.lost += uint64(next - first)
	v.seq += uint64(next - first)
	v.next = tick(next, fps)
	v.requestKey()
}

// encode makes the frame of the time v.next, and moves on.
func (v *video) encode() {
	cfg, key := v.begin()
	v.rate.Set(cfg.Bitrate, cfg.FPS, cfg.GOP)
	qp, grain := v.rate.Plan(key, v.since)
	m := v.board.moment(v.next)
	pic, mask, grained := v.painter.paint(&m, uint32(v.seq), grain)
	u := v.encoder.Encode(pic, mask, key, qp)
	v.rate.Done(&u, grained)
	v.unit = hal.AccessUnit{
		Data: u.Data, Params: u.Params, Key: u.Key,
		Time: v.board.start.Add(v.next), Seq: v.seq, Lost: v.lost,
	}
	v.made = true
	v.seq++
	v.since++
	v.lost = 0
	v.next = tick(tickAfter(v.next, cfg.FPS), cfg.FPS)
}

// begin takes what other goroutines asked for.
func (v *video) begin() (cfg hal.VideoConfig, key bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key = v.key || v.since >= v.cfg.GOP
	if key {
		v.since = 0
	}
	v.key = false
	v.last = v.seq
	return v.cfg, key
}
