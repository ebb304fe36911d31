//go:build powercut

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// file systems of cards that a virtual machine's kernel has; cuts are of each.
var machines = []struct {
	fs, mkfs, fsck string
	modules        string
	cuts           int
}{
	{"vfat", "mkfs.vfat", "fsck.vfat", "virtio_mmio,virtio_blk,vfat,nls_cp437,nls_ascii,nls_utf8", 20},
	{"exfat", "mkfs.exfat", "fsck.exfat", "virtio_mmio,virtio_blk,exfat", 20},
}

// TestR2_R3_PowerCutOfTheMachine kills virtual machines that write to a card.
func TestR2_R3_PowerCutOfTheMachine(t *testing.T) {
	dir := t.TempDir()
	vm, writer := filepath.Join(root(t), ".vm", "bin", "vm"), filepath.Join(dir, "powercut")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", writer, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, m := range machines {
		t.Run(m.fs, func(t *testing.T) {
			t.Parallel()
			image := filepath.Join(t.TempDir(), "card")
			if err := os.WriteFile(image, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(image, 64<<20); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(m.mkfs, image).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", m.mkfs, err, out)
			}
			h, rng := newHistory(t), rand.New(rand.NewPCG(9, uint64(i)))
			for range m.cuts {
				check(t, m.fsck, image)
				bootAndCut(t, h, rng.IntN(cutAfter+1), moment(rng, 200*time.Millisecond),
					vm, "run", "-disk", image, "arm64", m.modules, writer, "-device", "/dev/vda", "-fs", m.fs, "/card")
			}
			h.end(m.fs)
		})
	}
}

// check is what a camera does before it mounts a card without a journal that was
// not unmounted (docs/card.md).
func check(t *testing.T, fsck, image string) {
	t.Helper()
	out, err := exec.Command(fsck, "-a", image).CombinedOutput()
	var ended *exec.ExitError
	if err != nil && (!errors.As(err, &ended) || ended.ExitCode() > 1) { // 1: it has mended something
		t.Fatalf("%s: %v: %s", fsck, err, out)
	}
	for l := range strings.Lines(string(out)) {
		if strings.HasPrefix(l, "/") {
			t.Logf("%s: %s", fsck, strings.TrimSpace(l))
		}
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// bootAndCut ends the machine when its writer has said so many words more than what
// is on the card, and some time has passed.
func bootAndCut(t *testing.T, h *history, words int, moment time.Duration, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	// The machine itself is killed; what it said until then still comes.
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	cut := h.session(out, words, func() { time.AfterFunc(moment, cancel) })
	if err := c.Wait(); !cut {
		t.Fatalf("the machine ended by itself, or stood still: %v: %v", err, h.violations)
	}
}
