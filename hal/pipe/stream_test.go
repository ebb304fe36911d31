package pipe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

// Command: a program of its own, that is no shell, writes the stream.
func TestM1_CommandIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, sample := range encoded(t) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			b, s := openMain(t, Source{Command: []string{tool(t, "cat", "coreutils"), file(t, sample.bytes)}})
			list, err := drain(t, s)
			whole(t, list, sample.units)
			errtest.Says(t, err, hal.ErrGone, "main", "cat", "exit status 0")
			if c := s.Config(); c != (hal.VideoConfig{Width: 320, Height: 180, FPS: 25, GOP: 20}) {
				t.Errorf("config %+v", c)
			}
			if _, err2 := s.Next(t.Context()); !errors.Is(err2, hal.ErrGone) {
				t.Errorf("once more: %v", err2)
			}
			// R4: opened again it begins anew.
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
			if err != nil {
				t.Fatal(err)
			}
			list, _ = drain(t, s)
			whole(t, list, sample.units)
		})
	}
}

func TestM1_EncoderAsTheCommand(t *testing.T) {
	t.Parallel()
	_, s := openMain(t, Source{FPS: 20, Command: []string{tool(t, "ffmpeg", "ffmpeg"), "-v", "error", "-f", "lavfi", "-i",
		"testsrc2=s=160x90:r=20:d=3", "-c:v", "libx264", "-g", "20", "-bf", "0", "-tune", "zerolatency", "-f", "h264", "-"}})
	list, err := drain(t, s)
	if len(list) != 60 || !errors.Is(err, hal.ErrGone) || s.Config().FPS != 20 || s.Config().Width != 160 || s.Config().Height != 90 {
		t.Errorf("%d pictures, %v, %+v", len(list), err, s.Config())
	}
}

func TestM1_FIFO(t *testing.T) {
	t.Parallel()
	for i, piece := range []int{1 << 20, 4096, 100, 1 << 20, 777, 333} {
		sample := encoded(t)[i]
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			path := fifo(t)
			b, s := openMain(t, Source{Path: path})
			feedFIFO(t, path, sample.bytes, piece)
			list, err := drain(t, s)
			whole(t, list, sample.units)
			errtest.Says(t, err, hal.ErrGone, "FIFO", path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = b.OpenVideo(t.Context(), "main", hal.VideoConfig{}); err != nil {
				t.Fatal(err)
			}
			feedFIFO(t, path, sample.bytes, piece)
			list, _ = drain(t, s)
			whole(t, list, sample.units)
		})
	}
}

// R4: a FIFO that nobody opens for writing is a condition that says so, before
// Camera could only say that nothing came.
func TestR4_FIFOWithoutAWriterIsAnError(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	b, err := New(Config{Sources: []Source{{Stream: "main", Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	c := hal.NewCamera(b)
	defer c.Close()
	v, err := c.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Next(limit(t))
	errtest.Says(t, err, hal.ErrGone, "main", path, "no program has opened")
}

// A FIFO's writer that has nothing to say yet is a writer.
func TestR4_SilentFIFOIsNotDead(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	b, err := New(Config{Sources: []Source{{Stream: "main", Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	b.fifoWait = 10 * time.Millisecond
	s, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*b.fifoWait)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	sample := encoded(t)[0]
	if _, err := w.Write(sample.bytes[:20_000]); err != nil {
		t.Fatal(err)
	}
	if au, err := s.Next(limit(t)); err != nil || !au.Key {
		t.Fatal(au.Key, err)
	}
}

// A FIFO that nobody writes to yet waits for a while.
func TestM1_FIFOWithoutAWriterWaits(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	_, s := openMain(t, Source{Path: path})
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	sample := encoded(t)[0]
	feedFIFO(t, path, sample.bytes, 1<<20)
	list, _ := drain(t, s)
	whole(t, list, sample.units)
}

func TestM1_CloseUnblocksNext(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]Source{
		"fifo":    {Path: fifo(t)},
		"command": {Command: []string{tool(t, "sleep", "coreutils"), "1000"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := openMain(t, src)
			done := make(chan error)
			go func() { _, err := s.Next(context.Background()); done <- err }()
			go s.Close()
			errtest.Says(t, <-done, hal.ErrClosed)
			if _, err := s.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
				t.Error(err)
			}
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A file is replayed at its rate for ever; numbers and times go on.
func TestM13_FileIsReplayedInALoop(t *testing.T) {
	t.Parallel()
	for i, sample := range encoded(t) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			path := file(t, sample.bytes)
			synctest.Test(t, func(t *testing.T) {
				fps := []int{0, 25, 10, 30, 25, 25}[i]
				b, err := New(Config{Sources: []Source{{Stream: "main", Path: path, FPS: fps}}})
				if err != nil {
					t.Fatal(err)
				}
				s, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
				if err != nil {
					t.Fatal(err)
				}
				if fps == 0 {
					fps = 25
				}
				start := time.Now()
				for n := range 3*pictures + 7 {
					au, err := s.Next(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					same(t, n%pictures, &au, sample.units[n%pictures])
					want := start.Add(time.Duration(n) * (time.Second / time.Duration(fps)))
					if au.Seq != uint64(n) || au.Lost != 0 || !au.Time.Equal(want) || !time.Now().Equal(want) {
						t.Fatalf("picture %d: number %d, %v after the start, want %v", n, au.Seq, au.Time.Sub(start), want.Sub(start))
					}
				}
				// A call that is given up loses no picture.
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				if au, err := s.Next(t.Context()); err != nil || au.Seq != 3*pictures+7 {
					t.Fatal(au.Seq, err)
				}
				// Neither does a consumer that was away; time does not run after it.
				time.Sleep(time.Minute)
				if au, err := s.Next(t.Context()); err != nil || au.Seq != 3*pictures+8 || !au.Time.Equal(time.Now()) {
					t.Fatal(au.Seq, au.Time, err)
				}
				go func() { time.Sleep(time.Millisecond); s.Close() }()
				if _, err := s.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
					t.Fatal(err)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A file that was cut out of a stream begins, and begins again, at its first key frame.
func TestM13_FileThatBeginsAnywhere(t *testing.T) {
	t.Parallel()
	sample := encoded(t)[0]
	units := bytes.SplitAfter(sample.bytes, []byte("\x00\x00\x00\x01\x09"))
	_, s := openMain(t, Source{FPS: maxFPS, Path: file(t, append([]byte("\x00\x00\x00\x01\x09"), bytes.Join(units[11:], nil)...))})
	for i := range 90 {
		au, err := s.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		same(t, 20+i%40, &au, sample.units[20+i%40])
		if au.Seq != uint64(i) || au.Lost != 0 {
			t.Fatalf("picture %d: %d, %d lost", i, au.Seq, au.Lost)
		}
	}
}

func TestS5_GarbageIsAnError(t *testing.T) {
	t.Parallel()
	cat := tool(t, "cat", "coreutils")
	noise := bytes.Repeat([]byte("this is no video\x00\xff\n"), 200_000)
	p := bytes.Repeat([]byte("\x00\x00\x00\x01\x41\x9aonly P frames here"), 20_000)
	ts := bytes.Repeat([]byte("\x47\x40\x11\x10\x00\x00\x01\xe0\x00\x00\x00\x00\x01\x67sps\x00\x00\x01\x68pps\x00\x00\x01\x65\x88key"), 40_000)
	for name, test := range map[string]struct {
		src  Source
		kind error
	}{
		"program": {Source{Command: []string{cat, file(t, noise)}}, hal.ErrGarbage},
		"zeros":   {Source{Command: []string{cat, "/dev/zero"}}, hal.ErrGarbage},
		"random":  {Source{Command: []string{cat, "/dev/urandom"}}, hal.ErrGarbage},
		"MPEG-TS": {Source{Command: []string{cat, file(t, ts)}}, hal.ErrGarbage},
		"file":    {Source{Path: file(t, noise)}, hal.ErrGarbage},
		"small":   {Source{Path: file(t, noise[:100])}, hal.ErrGarbage},
		"empty":   {Source{Path: file(t, nil)}, hal.ErrGarbage},
		"no key":  {Source{Path: file(t, p)}, hal.ErrGarbage},
		"little":  {Source{Command: []string{cat, file(t, noise[:100])}}, hal.ErrGone},
		"nothing": {Source{Command: []string{cat, "/dev/null"}}, hal.ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := openMain(t, test.src)
			list, err := drain(t, s)
			if len(list) != 0 {
				t.Errorf("%d pictures", len(list))
			}
			errtest.Says(t, err, test.kind, "main")
		})
	}
}

// Garbage in the middle costs what it hit, up to the next key frame.
func TestR4_GarbageInTheMiddle(t *testing.T) {
	t.Parallel()
	sample := encoded(t)[1]
	units := bytes.SplitAfter(sample.bytes, []byte("\x00\x00\x00\x01\x09"))
	middle := len(bytes.Join(units[:26], nil)) - 5
	stream := append(append(bytes.Clone(sample.bytes[:middle]), "\x00\x00\x01\xbajunk"...), sample.bytes[middle:]...)
	_, s := openMain(t, Source{Command: []string{tool(t, "cat", "coreutils"), file(t, stream)}})
	list, _ := drain(t, s)
	if len(list) != 44 || list[24].Seq != 40 || list[24].Lost != 16 || !list[24].Key {
		t.Fatalf("%d pictures, the 25th: number %d, %d lost", len(list), list[24].Seq, list[24].Lost)
	}
	whole(t, list[:24], sample.units[:24])
	for i := range list[24:] {
		same(t, 40+i, &list[24+i], sample.units[40+i])
	}
}

func TestM1_EarlyCut(t *testing.T) {
	t.Parallel()
	sample := encoded(t)[1]
	path := fifo(t)
	_, s := openMain(t, Source{Path: path, EarlyCut: 3 * time.Millisecond})
	w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, u := range sample.units { // the next one is written only after this one came out
		var b []byte
		for _, n := range u {
			b = append(append(b, 0, 0, 0, 1), n...)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		au, err := s.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		same(t, i, &au, u)
	}
}

func TestM1_BadConfiguration(t *testing.T) {
	t.Parallel()
	cat, fifo, dir := tool(t, "cat", "coreutils"), fifo(t), t.TempDir()
	ok := Source{Stream: "main", Path: fifo}
	for name, test := range map[string]struct {
		sources []Source
		words   []string
	}{
		"none":     {nil, []string{"main"}},
		"no main":  {[]Source{{Stream: "sub", Path: fifo}}, []string{"main"}},
		"unknown":  {[]Source{ok, {Stream: "third", Path: fifo}}, []string{`"third"`, `"main" or "sub"`}},
		"twice":    {[]Source{ok, ok}, []string{"two sources", `"main"`}},
		"neither":  {[]Source{{Stream: "main"}}, []string{"neither command nor path"}},
		"both":     {[]Source{{Stream: "main", Path: fifo, Command: []string{cat}}}, []string{"both command and path"}},
		"fps":      {[]Source{{Stream: "main", Path: fifo, FPS: 1000}}, []string{"1000", "240"}},
		"negative": {[]Source{{Stream: "main", Path: fifo, FPS: -1}}, []string{"-1"}},
		"cut":      {[]Source{{Stream: "main", Path: fifo, EarlyCut: time.Minute}}, []string{"early cut", "1m0s", "1s"}},
		"folder":   {[]Source{{Stream: "main", Path: dir}}, []string{dir, "neither a FIFO nor a regular file"}},
		"all":      {[]Source{{Stream: "main"}, {Stream: "sub", FPS: -2, Path: fifo}}, []string{`"main"`, "neither", `"sub"`, "-2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(Config{Sources: test.sources})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestM1_NothingThere(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "gone")
	for _, src := range []Source{
		{Stream: "main", Command: []string{"no-such-encoder"}},
		{Stream: "main", Command: []string{gone}},
		{Stream: "main", Path: gone},
	} {
		_, err := New(Config{Sources: []Source{src}})
		errtest.Says(t, err, hal.ErrNotFound, "main", src.Path, strings.Join(src.Command, ""))
	}
	// Gone after the start.
	path := file(t, []byte("x"))
	b, err := New(Config{Sources: []Source{{Stream: "main", Path: path}, {Stream: "sub", Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	errtest.Says(t, err, hal.ErrNotFound, path)
}

func TestM1_BoardContract(t *testing.T) {
	t.Parallel()
	a, c := fifo(t), fifo(t)
	b, err := New(Config{Sources: []Source{{Stream: "sub", Path: a, FPS: 10}, {Stream: "main", Path: c}}})
	if err != nil {
		t.Fatal(err)
	}
	if l := b.Streams(); len(l) != 2 || l[0].Name != "main" || l[1].Name != "sub" || l[1].Default.FPS != 10 {
		t.Errorf("%+v", l)
	}
	if b.Info().Board != "pipe" {
		t.Errorf("%+v", b.Info())
	}
	if _, err := b.OpenVideo(t.Context(), "third", hal.VideoConfig{}); !errors.Is(err, hal.ErrNoStream) {
		t.Error(err)
	}
	s, err := b.OpenVideo(t.Context(), "sub", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.OpenVideo(ctx, "main", hal.VideoConfig{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
		t.Error(err)
	}
}
