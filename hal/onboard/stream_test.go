package onboard

import (
	"context"
	"errors"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestM13_EveryPictureOfTheStreamerArrivesOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, x264, parse string }{
		{"one slice", "slices=1", "h264parse"},
		{"four slices", "slices=4", "h264parse"},
		{"delimiters", "aud=1", "h264parse"},
		{"parameter sets before each key frame", "slices=1:", "h264parse config-interval=-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := shoot(t, 4, c.x264)
			s := stream(t, "/main", replaced(f.shown(), "h264parse", c.parse))
			v := open(t, board(t, s.url("/main")))
			list := read(t, v, pictures)
			for i := range list {
				au := &list[i]
				f.same(t, i, au)
				if au.Seq != uint64(i) || au.Lost != 0 {
					t.Fatalf("picture %d has number %d, %d lost", i, au.Seq, au.Lost)
				}
				if age := time.Since(au.Time); i > 0 && !au.Time.After(list[i-1].Time) || age < -burst || age > 10*time.Second {
					t.Fatalf("picture %d is of %v, %v ago", i, au.Time, age)
				}
			}
			if got, want := v.Config(), (hal.VideoConfig{Width: 320, Height: 180, FPS: 25, GOP: gop}); got != want {
				t.Errorf("it is %+v, want %+v", got, want)
			}
		})
	}
}

// Some streamers (divinus) know RTP by UDP alone.
func TestStreamerThatKnowsUDPAlone(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=4")
	s := stream(t, "--udp", "/main", f.shown())
	v := open(t, board(t, s.url("/main")))
	list := read(t, v, pictures)
	for i := range list {
		f.same(t, i, &list[i])
	}
	s.kill()
	_, err := drain(t, v)
	says(t, err, hal.ErrGone, "main")
}

func replaced(s, old, by string) string {
	for i := range len(s) - len(old) {
		if s[i:i+len(old)] == old {
			return s[:i] + by + s[i+len(old):]
		}
	}
	return s
}

// The streamer's stamps give the spacing, whatever our scheduling does; but what
// came too late at first, on a busy machine, is put right once.
func TestTimesAreAsSteadyAsTheStreamers(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	list := read(t, open(t, board(t, s.url("/main"))), 75)
	worst, unsteady := time.Duration(0), 0
	for i := 26; i < len(list); i++ { // a streamer begins with a burst
		off := (list[i].Time.Sub(list[i-1].Time) - frame).Abs()
		worst = max(worst, off)
		if off > frame/8+slack/10 {
			unsteady++
		}
	}
	t.Logf("at most %v off", worst)
	if unsteady > 1 {
		t.Errorf("%d of 49 pictures are up to %v off %v", unsteady, worst, frame)
	}
}

// Main and sub can be open at once, and stamp by one clock.
func TestMainAndSubOnOneClock(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown(), "/sub", f.shown())
	b := board(t, s.url("/main"), func(c *Config) {
		c.Sources = append([]Source{{Stream: "sub", URL: s.url("/sub")}}, c.Sources...)
	})
	if list := b.Streams(); len(list) != 2 || list[0].Name != "main" || list[1].Name != "sub" || !list[0].Reopens {
		t.Fatalf("streams are %+v", list)
	}
	v := open(t, b)
	w, err := b.OpenVideo(limit(t), "sub", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenVideo(limit(t), "sub", hal.VideoConfig{}); !errors.Is(err, hal.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := b.OpenVideo(limit(t), "third", hal.VideoConfig{}); !errors.Is(err, hal.ErrNoStream) {
		t.Errorf("opened a stream that there is not: %v", err)
	}
	for range 25 {
		a, b := read(t, v, 1)[0], read(t, w, 1)[0]
		if apart := a.Time.Sub(b.Time).Abs(); apart > 2*time.Second {
			t.Fatalf("main and sub are %v apart", apart)
		}
	}
}

func TestR4_DeadStreamerIsGoneAndItsReturnIsTaken(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	b := board(t, s.url("/main"))
	v := open(t, b)
	read(t, v, 10)
	s.kill()
	_, err := drain(t, v)
	says(t, err, hal.ErrGone, "main", "ended the connection")
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	_, err = b.OpenVideo(limit(t), "main", hal.VideoConfig{})
	says(t, err, hal.ErrGone, "nothing listens on "+s.addr+": is the streamer running?")
	if err := s.again(); err != nil {
		t.Fatal(err)
	}
	au := read(t, open(t, b), 1)[0]
	f.same(t, 0, &au)
}

func drain(t testing.TB, v hal.VideoStream) (n int, err error) {
	t.Helper()
	ctx := limit(t)
	for {
		if _, err := v.Next(ctx); err != nil {
			return n, err
		}
		n++
	}
}

func TestR4_StreamerThatHangsIsGone(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	b := board(t, s.url("/main"), patience(500*time.Millisecond))
	v := open(t, b)
	read(t, v, 10)
	s.hang()
	began := time.Now()
	_, err := drain(t, v)
	says(t, err, hal.ErrGone, "sent nothing for 500ms")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("that took %v", took)
	}
	began = time.Now()
	v.Close()
	if took := time.Since(began); took > time.Second {
		t.Errorf("closing took %v", took)
	}
	_, err = b.OpenVideo(limit(t), "main", hal.VideoConfig{})
	says(t, err, hal.ErrGone, "did not answer for 500ms")
}

// The end of a film: the streamer lives, and sends no more.
func TestR4_StreamerThatStopsSendingIsGone(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	v := open(t, board(t, s.url("/main"), patience(time.Second)))
	n, err := drain(t, v)
	says(t, err, hal.ErrGone, "sent nothing for 1s")
	if n != pictures {
		t.Errorf("%d pictures came, want %d", n, pictures)
	}
}

func TestCloseAndContextUnblockAtOnce(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	b := board(t, s.url("/main"), patience(20*time.Second))
	v := open(t, b)
	read(t, v, 5)
	s.hang()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var err error
	for err == nil {
		_, err = v.Next(ctx)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := v.Next(context.Background())
		ended <- err
	}()
	began := time.Now()
	v.Close()
	if err := <-ended; !errors.Is(err, hal.ErrClosed) {
		t.Errorf("a Next in flight returned %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.OpenVideo(ctx, "main", hal.VideoConfig{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opening a streamer that hangs: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing and opening took %v", took)
	}
}

// A board that is closed while a stream is being opened ends that too.
func TestBoardsCloseEndsAnOpening(t *testing.T) {
	t.Parallel()
	s := stream(t, "/main", "videotestsrc ! openh264enc ! rtph264pay name=pay0")
	s.hang()
	b := board(t, s.url("/main"), patience(20*time.Second))
	ended := make(chan error, 1)
	go func() {
		_, err := b.OpenVideo(context.Background(), "main", hal.VideoConfig{})
		ended <- err
	}()
	for { // until it is on its way
		b.mu.Lock()
		_, opening := b.open["main"]
		b.mu.Unlock()
		if opening {
			break
		}
	}
	began := time.Now()
	b.Close()
	if err := <-ended; !errors.Is(err, hal.ErrClosed) {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// A streamer begins with a key frame for every client: Camera makes key frames
// of that.
func TestKeyFrameOnRequestThroughCamera(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	b, err := New(Config{Sources: []Source{{Stream: "main", URL: s.url("/main")}}})
	if err != nil {
		t.Fatal(err)
	}
	camera := hal.NewCamera(b)
	t.Cleanup(func() { camera.Close() })
	if how, ok := camera.Capability(hal.CapKeyframe); !ok || how.By != "restart" {
		t.Fatalf("key frames are made by %q", how.By)
	}
	v, err := camera.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		read(t, v, 7)
		if err := camera.RequestKeyframe("main"); err != nil {
			t.Fatal(err)
		}
		keys := 0
		for _, au := range read(t, v, 5) {
			if au.Key {
				keys++
			}
		}
		if keys != 1 {
			t.Fatalf("%d key frames came, want 1", keys)
		}
	}
}

func TestStartStopManyTimes(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	b := board(t, s.url("/main"))
	for _, times := range []int{1, 2, 3, 5, 8} {
		for range times {
			v := open(t, b)
			au := read(t, v, 1)[0]
			f.same(t, 0, &au)
			v.Close()
		}
	}
}
