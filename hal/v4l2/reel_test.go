//go:build vm

package v4l2

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/vm/usbcam"
)

// reel is a camera's encoder that costs little, as an emulated processor has
// little: one GOP of the simulator's, round and round. Every frame carries its
// number, and as much filling, in an SEI message, as the bitrate asks for.
type reel struct {
	gops map[usbcam.Size][][]byte

	mu      sync.Mutex
	bitrate int
	at      int // of the GOP
	number  uint32
	spare   int // bytes that may still go out

	gop   [][]byte
	fps   int
	began time.Time
	sent  int // frames since
}

var reelSizes = []usbcam.Size{{Width: 1280, Height: 720}, {Width: 640, Height: 360}}

// gops are made once for all tests.
var gops = sync.OnceValues(func() (map[usbcam.Size][][]byte, error) {
	all := map[usbcam.Size][][]byte{}
	for _, s := range reelSizes {
		gop, err := record(s, 25)
		if err != nil {
			return nil, err
		}
		all[s] = gop
	}
	return all, nil
})

// record takes so many frames of the simulator, as small as they get.
func record(s usbcam.Size, frames int) ([][]byte, error) {
	b := sim.New(sim.Config{Seed: 1, Streams: []hal.StreamInfo{{Name: "main", Default: hal.VideoConfig{Width: s.Width, Height: s.Height, FPS: 25, GOP: 50, Bitrate: 1}}}})
	defer b.Close()
	v, err := b.OpenVideo(context.Background(), "main", hal.VideoConfig{})
	if err != nil {
		return nil, err
	}
	defer v.Close()
	var list [][]byte
	for range frames {
		au, err := v.Next(context.Background())
		if err != nil {
			return nil, err
		}
		var f []byte
		for n := range au.NALs() {
			f = append(append(f, 0, 0, 0, 1), n...)
		}
		list = append(list, f)
	}
	return list, nil
}

func newReel(t *testing.T) *reel {
	t.Helper()
	all, err := gops()
	if err != nil {
		t.Fatal(err)
	}
	return &reel{gops: all, bitrate: 1_000_000}
}

func (r *reel) Sizes() []usbcam.Size { return reelSizes }

func (r *reel) Start(_ context.Context, f usbcam.Format) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gop, r.fps, r.at, r.spare = r.gops[f.Size], f.FPS, 0, 0
	r.began, r.sent = time.Now(), 0
	return nil
}

func (r *reel) Next(ctx context.Context) ([]byte, error) {
	// By the clock, not frame by frame: an emulated camera is late at times.
	due := r.began.Add(time.Duration(r.sent) * time.Second / time.Duration(r.fps))
	r.sent++
	select {
	case <-time.After(time.Until(due)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.gop[r.at]
	r.at, r.number = (r.at+1)%len(r.gop), r.number+1
	r.spare += r.bitrate / 8 / r.fps
	const message = 32 // what the filling takes by itself
	fill := max(r.spare-len(f)-message, 0)
	out := append(filling(r.number, fill), f...)
	r.spare = min(r.spare-len(out), 0)
	return out, nil
}

// filling is an SEI message (H.264, D.1.7) with a number in it.
func filling(number uint32, n int) []byte {
	b := append(make([]byte, 0, 2*n+64), 0, 0, 0, 1, hal.NALSEI, 5)
	for size := 16 + 8 + n; ; size -= 255 {
		if size < 255 {
			b = append(b, byte(size))
			break
		}
		b = append(b, 255)
	}
	for range 16 { // the message's UUID
		b = append(b, 0x55)
	}
	var digits [8]byte
	for i := range digits { // no zeros, so that there is nothing to escape
		digits[i] = 0x80 | byte(number>>(4*i))&15
	}
	b = append(b, digits[:]...)
	return append(append(b, bytes.Repeat([]byte{0xaa}, n)...), 0x80)
}

func (r *reel) Stop() {}

func (r *reel) ForceKey() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = 0
	return nil
}

func (r *reel) SetBitrate(bps int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bitrate, r.spare = bps, 0
	return nil
}
