package pipe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
)

const recorded = "../../testdata/high-320x180.h264"

// self is the command that makes the test binary play a sidecar.
func self(t testing.TB, part ...string) []string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{path, "sidecar"}, part...)
}

// example compiles the C sidecar of the documentation.
func example(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sidecar")
	out, err := exec.Command(tool(t, "cc", "gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, "../../scripts/sidecar/sidecar.c").CombinedOutput()
	if err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return path
}

// form is one way to be a camera by this package, and cases that it must pass,
// not just lack.
type form struct {
	open   func(context.Context) (hal.Board, error)
	passes []string
}

// named says which form it is that fails.
type named struct {
	*testing.T
	name string
}

// Errorf implements [haltest.TB].
func (n named) Errorf(format string, args ...any) { n.T.Errorf(n.name+": "+format, args...) }

// Logf implements [haltest.TB]: what a form lacks is no news.
func (n named) Logf(string, ...any) {}

// conforms runs the suite; to unplug is to kill the board's program.
func (f form) conforms(t named) {
	var now hal.Board
	s := haltest.Subject{
		Name: t.name, Shared: true,
		Open: func(ctx context.Context) (hal.Board, []any, error) {
			b, err := f.open(ctx)
			now = b
			return b, nil, err
		},
	}
	if slices.Contains(f.passes, "unplug") {
		s.Unplug = func() error { return syscall.Kill(-process(now), syscall.SIGKILL) }
		s.Replug = func() error { return nil }
	}
	r := haltest.Check(t, s)
	for _, name := range f.passes {
		if !slices.ContainsFunc(r.Results, func(one haltest.Result) bool { return one.Name == name && one.Outcome == haltest.Passed }) {
			t.Errorf("case %s did not pass", name)
		}
	}
	t.T.Logf("%s: %d ok, %d not applicable, in %v", t.name, r.Count(haltest.Passed), r.Count(haltest.NotApplicable), r.Took)
}

// process is the board's program.
func process(b hal.Board) int {
	switch b := b.(type) {
	case *Framed:
		return b.current().child.cmd.Process.Pid
	case *Board:
		b.mu.Lock()
		defer b.mu.Unlock()
		for s := range b.open {
			return s.in.child.cmd.Process.Pid
		}
	}
	return 0
}

// R4: nothing is left of either form. Not parallel: other tests start programs too.
func TestR4_NothingIsLeft(t *testing.T) {
	for name, open := range map[string]func(context.Context) (hal.Board, error){
		"command": func(context.Context) (hal.Board, error) {
			src := script(t, "cat "+recorded+"; exec sleep 1000")
			src.Stream = "main"
			return New(Config{Sources: []Source{src}})
		},
		"sidecar": func(ctx context.Context) (hal.Board, error) {
			return NewFramed(ctx, FramedConfig{Command: self(t, "camera")})
		},
	} {
		r := haltest.Check(t, haltest.Subject{
			Name: name, Only: []string{"close-unread", "no-goroutine-left", "no-file-left", "no-process-left"},
			Open: func(ctx context.Context) (hal.Board, []any, error) { b, err := open(ctx); return b, nil, err },
		})
		if r.Count(haltest.Passed) < 4 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Every form keeps the contract. They are tested at the same time: it is mostly
// waiting.
func TestM1_EveryFormConforms(t *testing.T) {
	t.Parallel()
	encoder := Source{Stream: "main", Command: []string{tool(t, "ffmpeg", "ffmpeg"), "-v", "error", "-re", "-f", "lavfi", "-i",
		"testsrc2=s=160x90:r={fps}", "-c:v", "libx264", "-g", "{gop}", "-keyint_min", "{gop}", "-bf", "0", "-tune", "zerolatency",
		"-f", "h264", "-flush_packets", "1", "-"},
		FPS: 20, GOP: 20, FPSRange: hal.Range{Min: 5, Max: 25}, GOPRange: hal.Range{Min: 5, Max: 50}}
	raw := func(s Source) func(context.Context) (hal.Board, error) {
		return func(context.Context) (hal.Board, error) { return New(Config{Sources: []Source{s}}) }
	}
	sidecar := func(argv ...string) func(context.Context) (hal.Board, error) {
		return func(ctx context.Context) (hal.Board, error) { return NewFramed(ctx, FramedConfig{Command: argv}) }
	}
	var all sync.WaitGroup
	for name, f := range map[string]form{
		"command": {raw(encoder), []string{"first-frame", "sps", "fps", "gop", "unplug"}},
		"file":    {raw(Source{Stream: "main", Path: recorded}), []string{"first-frame", "sps", "fps"}},
		"sidecar": {sidecar(self(t, "camera")...), []string{"first-frame", "sps", "fps", "gop", "bitrate", "one-clock", "unplug", "keyframe",
			"tune-gop", "tune-bitrate", "image-set", "irfilter", "lights", "lightsensor", "snapshot", "motion", "sound-runs", "speaker-pace",
			"ptz-presets", "buttons", "leds", "siren", "sensors"}},
		"example in C": {sidecar(example(t), recorded), []string{"first-frame", "sps", "fps", "one-clock", "leds", "lights", "buttons", "keyframe", "unplug"}},
	} {
		all.Go(func() { f.conforms(named{t, name}) })
	}
	all.Wait()
}
