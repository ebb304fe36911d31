package onboard

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/sps"
)

const (
	videoRate = 90000 // of the time stamps (RFC 6184, 5.1)
	// What may wait for a slow reader; older pictures are of no use to hal.Camera.
	maxQueued      = 250
	maxQueuedBytes = 4 << 20
	maxQueuedTime  = 3 * time.Second
	// disorders is how many pictures from the past one GOP may have before the
	// stream counts as one with B-frames; a clock that is set makes one.
	disorders = 3
	// keyWithin is how long pictures may come without a key frame among them, as
	// long as none can be handed on.
	keyWithin = 10 * time.Second
	// maxFPS bounds a rate that is measured.
	maxFPS = 240
)

// video is one open stream.
type video struct {
	name    string
	session *session
	queue   *queue[hal.AccessUnit]
	closing sync.Once
	closed  func(last time.Time)

	// gortsplib's reader's own.
	parts     assembler
	clock     clock
	started   bool      // a picture was handed on
	synced    bool      // and none was lost since
	missing   bool      // packets were, and no picture was counted for them yet
	waiting   time.Time // since when pictures had to be left out; zero if not
	seq       uint64
	disorders int
	full      bool // the rest of this GOP is left out; guarded by the queue

	// Next's own.
	expected uint64
	lastKey  hal.AccessUnit // without its bytes

	mu     sync.Mutex
	config hal.VideoConfig
	timed  bool // the SPS tells the rate
	sps    []byte
}

// openVideo starts a stream within a time; its pictures are of after a time.
func openVideo(ctx context.Context, src source, timeout time.Duration, after time.Time) (*video, error) {
	v := &video{name: src.stream, queue: newQueue[hal.AccessUnit](timeout), clock: clock{rate: videoRate, after: after}}
	v.parts.hand, v.parts.gap = v.got, v.lost
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	var err error
	v.session, err = begin(ctx, src, description.MediaTypeVideo, v.choose, v.queue.fail)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// within is a context whose end says that the streamer was too slow.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w: the streamer did not answer for %v", hal.ErrGone, d))
}

func (v *video) atClose(f func(time.Time)) { v.closed = f }

// choose takes the H.264 track.
func (v *video) choose(medias []*description.Media) (track, func(*rtp.Packet), error) {
	t, f, ok := find[*format.H264](medias, description.MediaTypeVideo)
	if !ok {
		return t, nil, notH264(codecs(medias, description.MediaTypeVideo))
	}
	if f.PacketizationMode > 1 {
		return t, nil, fmt.Errorf("%w: packetisation mode %d, want 0 or 1", hal.ErrGarbage, f.PacketizationMode)
	}
	v.parts.mode = f.PacketizationMode
	v.parts.reset()
	if len(f.SPS) > 1 && len(f.PPS) > 1 {
		v.parts.sps, v.parts.pps = [][]byte{f.SPS}, [][]byte{f.PPS}
		v.describe(f.SPS)
	}
	return t, v.heard, nil
}

func notH264(is string) error {
	if is == "" {
		return fmt.Errorf("%w: there is no video at all", hal.ErrGarbage)
	}
	return fmt.Errorf("%w: the stream is %s: set the streamer's codec to H.264", hal.ErrGarbage, is)
}

// heard takes a packet.
func (v *video) heard(p *rtp.Packet) {
	now := time.Now()
	v.queue.hear(now)
	v.parts.add(p, now)
}

// lost notes that packets are missing.
func (v *video) lost() { v.synced, v.missing = false, true }

// got takes a picture. Those that can't be decoded are left out and counted;
// those before the first key frame are only left out.
func (v *video) got(p picture) {
	if v.missing && p.data != nil && v.started {
		v.seq++ // one that was not seen at all
	}
	v.missing = false
	if p.data == nil || !p.key && !v.synced {
		v.leaveOut(p.at)
		return
	}
	if !v.inOrder(p) {
		return
	}
	au := hal.AccessUnit{Data: p.data, Params: p.params, Key: p.key, Seq: v.seq, Time: v.clock.at(p.stamp, p.at)}
	v.seq++
	v.started, v.synced, v.waiting = true, true, time.Time{}
	v.queue.update(func(list []hal.AccessUnit) []hal.AccessUnit { return v.push(list, au) })
}

// leaveOut counts a picture that can't be handed on. A stream that gives no key
// frame for long ends: opened again, it begins with one.
func (v *video) leaveOut(at time.Time) {
	v.synced = false
	if v.started {
		v.seq++
	}
	if v.waiting.IsZero() {
		v.waiting = at
	}
	if at.Sub(v.waiting) > keyWithin {
		v.queue.fail(fmt.Errorf("%w: no key frame for %v: make the streamer's key frame interval shorter", hal.ErrGarbage, keyWithin))
	}
}

// inOrder ends a stream whose pictures are shown in another order than they come.
func (v *video) inOrder(p picture) bool {
	if p.key {
		v.disorders = 0
	}
	if v.started && !p.key {
		if step := v.clock.step(p.stamp); step < 0 && step > -apart {
			v.disorders++
		}
	}
	if v.disorders >= disorders {
		v.queue.fail(fmt.Errorf("%w: its pictures come out of order: switch B-frames off in the streamer", hal.ErrGarbage))
		return false
	}
	return true
}

// push queues a picture. When there are too many, all before the newest key
// frame go; without one, all, and the rest of this GOP.
func (v *video) push(list []hal.AccessUnit, au hal.AccessUnit) []hal.AccessUnit {
	v.full = v.full && !au.Key
	for !v.full && tooMany(list, &au) {
		key := newestKey(list)
		v.full = key == len(list) && !au.Key
		clear(list[:key])
		list = list[key:]
	}
	if v.full {
		return list
	}
	return append(list, au)
}

// newestKey is the place of the newest key frame behind the first picture, the
// length if there is none.
func newestKey(list []hal.AccessUnit) int {
	for i := len(list) - 1; i > 0; i-- {
		if list[i].Key {
			return i
		}
	}
	return len(list)
}

func tooMany(list []hal.AccessUnit, more *hal.AccessUnit) bool {
	if len(list) == 0 {
		return false
	}
	size := len(more.Data)
	for i := range list {
		size += len(list[i].Data)
	}
	return len(list) >= maxQueued || size > maxQueuedBytes || more.Time.Sub(list[0].Time) > maxQueuedTime
}

// Next implements [hal.VideoStream].
func (v *video) Next(ctx context.Context) (hal.AccessUnit, error) {
	au, err := v.queue.next(ctx)
	if err != nil {
		return au, fmt.Errorf("onboard board, %s: %w", v.name, err)
	}
	au.Lost = au.Seq - v.expected
	v.expected = au.Seq + 1
	if au.Key {
		v.begins(&au)
	}
	return au, nil
}

// begins learns from a key frame what the stream is.
func (v *video) begins(au *hal.AccessUnit) {
	if s, _ := au.ParameterSets(); !bytes.Equal(s, v.sps) {
		v.describe(bytes.Clone(s))
	}
	last := v.lastKey
	v.lastKey = hal.AccessUnit{Seq: au.Seq, Time: au.Time}
	if last.Time.IsZero() || au.Lost > 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.config.GOP = int(au.Seq - last.Seq)
	if fps := float64(v.config.GOP) / au.Time.Sub(last.Time).Seconds(); !v.timed {
		v.config.FPS = int(math.Round(min(fps, maxFPS)))
	}
}

// describe takes size and rate from an SPS; what makes no sense is unknown.
func (v *video) describe(nal []byte) {
	w, h, fps := sps.Read(nal)
	v.sps = nal
	v.mu.Lock()
	defer v.mu.Unlock()
	v.config, v.timed = hal.VideoConfig{Width: w, Height: h, FPS: fps}, fps > 0
}

// Config implements [hal.VideoStream]: the size by the SPS of the picture read
// last, the rate by it too or else as measured, the GOP as counted; the bitrate
// is not known.
func (v *video) Config() hal.VideoConfig {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.config
}

// Close implements [hal.VideoStream].
func (v *video) Close() error {
	v.closing.Do(func() {
		v.queue.close()
		v.session.close()
		v.closed(v.clock.last)
	})
	return nil
}
