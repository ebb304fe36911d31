// Package e2e runs the built programs against real servers and real clients:
// camcloud with its broker, an S3 server, ffmpeg, ffprobe and age.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"iid2secure.nl/camagent/scripts/s3dev"
	"iid2secure.nl/camagent/scripts/stack"
)

// bin is where TestMain builds the programs under test.
var bin string

func TestMain(m *testing.M) {
	code, err := withPrograms(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withPrograms(run func() int) (int, error) {
	dir, err := os.MkdirTemp("", "camagent-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	bin = dir
	for _, tool := range []string{"ffmpeg", "ffprobe", "age"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%s is missing: make tools installs the Debian packages that the tests need", tool)
		}
	}
	build := exec.Command("make", "-C", filepath.Join("..", ".."), "build", "BIN="+bin)
	build.Env = append(os.Environ(), "MAKEFLAGS=") // what a make above us was told is not for this one
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the programs: %w: %s", err, out)
	}
	gateway, err := s3dev.Binary(context.Background())
	if err != nil {
		return 1, err
	}
	if err := os.Symlink(gateway, filepath.Join(bin, "versitygw")); err != nil {
		return 1, err
	}
	// camcloud takes it from the environment alone; the tests run side by side.
	if err := os.Setenv("CAMCLOUD_S3_SECRET_KEY", storageSecret); err != nil {
		return 1, err
	}
	return run(), nil
}

// newStack makes a stack in a folder of the test and ends it with the test.
func newStack(t *testing.T, opt stack.Options) *stack.Stack {
	t.Helper()
	return newStackOf(t, bin, opt)
}

// newStackOf is newStack with programs of the test's own.
func newStackOf(t *testing.T, programs string, opt stack.Options) *stack.Stack {
	t.Helper()
	opt.Bin, opt.Dir = programs, t.TempDir()
	s, err := stack.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			showLogs(t, opt.Dir)
		}
	})
	return s
}

func showLogs(t *testing.T, dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, l := range logs {
		b, _ := os.ReadFile(l)
		t.Logf("%s:\n%s", filepath.Base(l), b[max(0, len(b)-6000):])
	}
}

// eventually asks every 100 ms until cond holds; it fails the test after limit.
func eventually(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// after waits for a span of real time that a test is about (60 s of footage).
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
