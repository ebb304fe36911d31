package pipe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// conforms runs the suite; to unplug is to kill the board's program.
func conforms(t *testing.T, open func(context.Context) (hal.Board, error), applies ...string) {
	t.Helper()
	var now hal.Board
	s := haltest.Subject{
		Name: t.Name(), Shared: true,
		Open: func(ctx context.Context) (hal.Board, []any, error) {
			b, err := open(ctx)
			now = b
			return b, nil, err
		},
	}
	if slices.Contains(applies, "unplug") {
		s.Unplug = func() error { return syscall.Kill(-process(now), syscall.SIGKILL) }
		s.Replug = func() error { return nil }
	}
	r := haltest.Check(t, s)
	passed := map[string]bool{}
	for _, one := range r.Results {
		passed[one.Name] = one.Outcome == haltest.Passed
	}
	for _, name := range applies {
		if !passed[name] {
			t.Errorf("case %s did not pass", name)
		}
	}
	t.Logf("%d ok, %d not applicable, in %v", r.Count(haltest.Passed), r.Count(haltest.NotApplicable), r.Took)
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

func TestM1_CommandConforms(t *testing.T) {
	t.Parallel()
	src := Source{Stream: "main", Command: []string{tool(t, "ffmpeg", "ffmpeg"), "-v", "error", "-re", "-f", "lavfi", "-i",
		"testsrc2=s=160x90:r={fps}", "-c:v", "libx264", "-g", "{gop}", "-keyint_min", "{gop}", "-bf", "0", "-tune", "zerolatency", "-f", "h264", "-flush_packets", "1", "-"},
		FPS: 25, GOP: 25, FPSRange: hal.Range{Min: 5, Max: 50}, GOPRange: hal.Range{Min: 5, Max: 50}}
	conforms(t, func(context.Context) (hal.Board, error) { return New(Config{Sources: []Source{src}}) }, "first-frame", "sps", "fps", "gop", "unplug")
}

func TestM1_FileConforms(t *testing.T) {
	t.Parallel()
	conforms(t, func(context.Context) (hal.Board, error) {
		return New(Config{Sources: []Source{{Stream: "main", Path: recorded}}})
	}, "first-frame", "sps", "fps")
}

func TestM1_SidecarConforms(t *testing.T) {
	t.Parallel()
	conforms(t, func(ctx context.Context) (hal.Board, error) {
		return NewFramed(ctx, FramedConfig{Command: self(t, "camera")})
	}, "first-frame", "sps", "fps", "gop", "bitrate", "one-clock", "unplug", "tune-gop", "speaker-pace", "ptz-presets", "sensors", "snapshot")
}

func TestM1_ExampleInCConforms(t *testing.T) {
	t.Parallel()
	path := example(t)
	conforms(t, func(ctx context.Context) (hal.Board, error) {
		return NewFramed(ctx, FramedConfig{Command: []string{path, recorded}})
	}, "first-frame", "sps", "fps", "one-clock", "leds", "lights", "buttons", "keyframe", "unplug")
}
