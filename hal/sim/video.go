package sim

import (
	"context"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// MaxBehind is how many frames, of picture or sound, a late reader still gets.
const MaxBehind = 25

// video is one running stream. Next owns what is below "reader's".
type video struct {
	board  *Board
	info   hal.StreamInfo
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
}

// newVideo prepares a stream; the caller holds the board's lock.
func newVideo(b *Board, info hal.StreamInfo, cfg hal.VideoConfig) *video {
	bd := b.backdropLocked(cfg.Width, cfg.Height)
	v := &video{
		board: b, info: info, cfg: cfg, key: true,
		ticker:  newTicker("stream "+info.Name, b.start),
		painter: newPainter(bd, b.title, b.seed^uint64(cfg.Width)<<32),
		encoder: h264.NewEncoder(cfg.Width, cfg.Height, cfg.FPS),
		rate:    h264.NewRate(bd.still.MBW * bd.still.MBH),
	}
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
	if v.board.open[v.info.Name] == v {
		delete(v.board.open, v.info.Name)
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
	v.cfg = merge(v.info, v.cfg, patch)
	return v.cfg
}

// Next implements [hal.VideoStream]. A frame that was encoded when ctx ended
// comes with the next call.
func (v *video) Next(ctx context.Context) (hal.AccessUnit, error) {
	if !v.made {
		cfg := v.Config()
		interval := time.Second / time.Duration(cfg.FPS)
		if err := v.ticker.wait(ctx, v.next-interval/2); err != nil {
			return hal.AccessUnit{}, err
		}
		v.skipMissed(cfg.FPS)
		v.encode()
	}
	if err := v.ticker.wait(ctx, v.unit.Time.Sub(v.board.start)); err != nil {
		return hal.AccessUnit{}, err
	}
	au := v.unit
	v.made, v.unit = false, hal.AccessUnit{}
	return au, nil
}

// skipMissed drops the frames of a reader that is too far behind.
func (v *video) skipMissed(fps int) {
	now := v.ticker.now()
	if now-v.next <= tick(MaxBehind, fps) {
		return
	}
	first := tickAfter(v.next-1, fps)
	next := tickAfter(now, fps)
	v.lost = uint64(next - first)
	v.seq += v.lost
	v.next = tick(next, fps)
	v.requestKey()
}

// encode makes the frame of the time v.next, and moves on.
func (v *video) encode() {
	cfg, key := v.begin()
	v.rate.Set(cfg.Bitrate, cfg.FPS, cfg.GOP)
	qp, grain := v.rate.Plan(key, v.since)
	pic, mask, grained := v.painter.paint(v.board.moment(v.next), uint32(v.seq), grain)
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
