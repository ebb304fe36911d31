//go:build powercut

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const (
	cards    = 2   // at the same time
	cardCuts = 100 // of each
	cutAfter = 24  // words, at most, and some time more
)

// TestR2_R3_PowerCutOfTheCard cuts the power of ext4 cards at random moments.
func TestR2_R3_PowerCutOfTheCard(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "powercut")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range cards {
		t.Run(fmt.Sprintf("card %d", i), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, filepath.Join(t.TempDir(), "card"), 32)
			h, rng := newHistory(t), rand.New(rand.NewPCG(7, uint64(i)))
			for range cardCuts {
				runAndCut(d, h, program, rng.IntN(cutAfter+1), moment(rng, 10*time.Millisecond))
			}
			h.end("ext4")
		})
	}
}

// runAndCut switches the card off when its writer has said so many words more than
// what is on the card, and some time has passed.
func runAndCut(d *disk, h *history, program string, words int, moment time.Duration) {
	h.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	c := exec.Command(program, d.dir)
	c.Stdout, c.Stderr = w, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	w.Close()
	cut := make(chan error, 1)
	if !h.session(r, words, func() {
		time.AfterFunc(moment, func() {
			h.off.Store(true)
			err := switchOff(d)
			c.Process.Kill() //nolint:errcheck // it may have noticed already
			cut <- err
		})
	}) {
		h.t.Fatalf("the writer ended by itself: %v: %v", c.Wait(), h.violations)
	}
	if err := <-cut; err != nil {
		h.t.Fatal(err)
	}
	c.Wait() //nolint:errcheck // it was killed
	d.unmount()
	d.switchOn()
}
