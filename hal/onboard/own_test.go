package onboard

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/media"
	"iid2secure.nl/camagent/media/rtsp"
)

// A camera of ours is a streamer too: what its board makes arrives unchanged,
// picture and sound.
func TestM13_OwnServerAsStreamer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	own := media.NewStream("main", 8<<20)
	server := rtsp.New(rtsp.Config{Address: "127.0.0.1:0", TCP: true}, []*media.Stream{own}, func(string) (string, bool) { return secret, true }, nil)
	work.Go(func() { _ = server.Run(ctx) })
	<-server.Ready()
	pictures, sounds := play(t, ctx, &work, own)

	_, mic := listen(t, "rtsp://"+server.Addr().String()+"/main", with("viewer", secret))
	b := mic.(*ear).board
	v := open(t, b)
	if got := v.Config(); got.Width != 640 || got.Height != 360 {
		t.Errorf("it is %+v before the first picture, want 640x360", got)
	}
	a, err := mic.OpenMicrophone(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	if f := a.Format(); f.Codec != hal.PCMU || f.Rate != 8000 {
		t.Errorf("sound is %+v", f)
	}
	var heard []byte
	for i, au := range read(t, v, 50) {
		if i == 0 {
			pictures.seek(&au)
		}
		if want := pictures.take(); !bytes.Equal(au.Data, want.Data) || au.Key != want.Key || au.Params != want.Params {
			t.Fatalf("picture %d is not as the board made it", i)
		}
		f, err := a.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, f.Data...)
	}
	if !bytes.Contains(sounds.all(), heard) {
		t.Errorf("%d bytes of sound are not as the board made them", len(heard))
	}
}

// play plays the sub stream of a simulated board into a stream, and notes it.
func play(t *testing.T, ctx context.Context, work *sync.WaitGroup, into *media.Stream) (*reelOf, *tape) {
	t.Helper()
	board := sim.New(sim.Config{Title: "own"})
	v, err := board.OpenVideo(ctx, "sub", hal.VideoConfig{GOP: 25})
	if err != nil {
		t.Fatal(err)
	}
	a, err := board.OpenMicrophone(ctx)
	if err != nil {
		t.Fatal(err)
	}
	format := a.Format()
	into.SetAudio(&format)
	pictures, sounds := &reelOf{}, &tape{}
	work.Go(func() {
		for {
			au, err := v.Next(ctx)
			if err != nil {
				return
			}
			pictures.add(au)
			into.PushVideo(au)
		}
	})
	work.Go(func() {
		for {
			f, err := a.Next(ctx)
			if err != nil {
				return
			}
			sounds.add(f.Data)
			into.PushAudio(f)
		}
	})
	t.Cleanup(func() { work.Wait(); board.Close() })
	return pictures, sounds
}

// reelOf and tape keep what was played.
type reelOf struct {
	mu   sync.Mutex
	list []hal.AccessUnit
}

func (r *reelOf) add(au hal.AccessUnit) { r.mu.Lock(); r.list = append(r.list, au); r.mu.Unlock() }

func (r *reelOf) take() hal.AccessUnit {
	r.mu.Lock()
	defer r.mu.Unlock()
	au := r.list[0]
	r.list = r.list[1:]
	return au
}

// seek leaves out what was played before a picture.
func (r *reelOf) seek(first *hal.AccessUnit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.list) > 1 && !bytes.Equal(r.list[0].Data, first.Data) {
		r.list = r.list[1:]
	}
}

type tape struct {
	mu    sync.Mutex
	bytes []byte
}

func (t *tape) add(b []byte) { t.mu.Lock(); t.bytes = append(t.bytes, b...); t.mu.Unlock() }
func (t *tape) all() []byte  { t.mu.Lock(); defer t.mu.Unlock(); return bytes.Clone(t.bytes) }
