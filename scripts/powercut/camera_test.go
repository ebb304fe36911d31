//go:build powercut

package main

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/scripts/powercut/audit"
	"iid2secure.nl/camagent/scripts/stack"
)

const (
	cameras    = 4  // at the same time
	cameraCuts = 50 // of each
	mayLose    = 2 * time.Second
	// closedFor is how long a clip lies there under its own name until it counts
	// as closed: from outside it can't be seen when the camera itself was told.
	closedFor = 500 * time.Millisecond
	// startsWithin is how long a camera takes to its first picture on a busy machine.
	startsWithin = time.Second
)

var bin = flag.String("bin", "", "folder of the built programs")

// victim is a camera, its flash and its card.
type victim struct {
	t           *testing.T
	s           *stack.Stack
	flash, card *disk
	lives       []life
	closed      map[string]bool // clips that lay on the card as closed when the power went
}

// life is from start to cut.
type life struct{ began, cut time.Time }

// TestR2_R3_PowerCutOfTheCamera cuts the power of flash and card of cameras that
// record and upload, at random moments.
func TestR2_R3_PowerCutOfTheCamera(t *testing.T) {
	if *bin == "" {
		t.Fatal("-bin is missing: make test-powercut gives it")
	}
	for i := range cameras {
		t.Run(fmt.Sprintf("camera %d", i), func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			rng := rand.New(rand.NewPCG(5, uint64(i)))
			for range cameraCuts {
				v.live(rng)
			}
			v.judge()
		})
	}
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{t: t, closed: map[string]bool{}}
	v.flash = newDisk(t, filepath.Join(dir, "camera"), 16)
	v.card = newDisk(t, filepath.Join(dir, "camera", "card"), 256)
	var err error
	v.s, err = stack.New(t.Context(), stack.Options{Bin: *bin, Dir: dir, Camera: map[string]any{
		"record": map[string]any{"clip_length": "3s"},
		"card":   map[string]any{"dir": v.card.dir, "require_mount": true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.s.Close(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(v.s.Path("camagent.log")); err == nil && t.Failed() {
			t.Logf("the end of camagent's log:\n%s", b[max(0, len(b)-4000):])
		}
	})
	if err := v.s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"main.gop=25", "main.bitrate=4000000", "recording=continuous"} {
		if _, err := v.s.Ctl(t.Context(), "set", setting); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.s.Camera.Stop(); err != nil {
		t.Fatal(err)
	}
	return v
}

// live is one life, and getting up after it.
func (v *victim) live(rng *rand.Rand) {
	l := life{began: time.Now()}
	if err := v.s.StartCamera(); err != nil {
		v.t.Fatal(err)
	}
	moment := time.Duration(300+rng.IntN(4000)) * time.Millisecond
	since := map[string]time.Time{}
	for time.Since(l.began) < moment {
		v.look(since)
		time.Sleep(min(20*time.Millisecond, time.Until(l.began.Add(moment))))
	}
	disks := []*disk{v.flash, v.card}
	rng.Shuffle(2, func(i, j int) { disks[i], disks[j] = disks[j], disks[i] })
	l.cut = time.Now()
	err := switchOff(disks...)
	v.s.Camera.Kill()
	if err != nil {
		v.t.Fatal(err)
	}
	for name, t := range since {
		if l.cut.Sub(t) > closedFor {
			v.closed[name] = true
		}
	}
	v.lives = append(v.lives, l)
	v.card.unmount()
	v.flash.unmount()
	v.flash.switchOn()
	v.card.switchOn()
}

// look finds the clips that have their own name and their manifest.
func (v *victim) look(since map[string]time.Time) {
	now, found := time.Now(), map[string]int{}
	filepath.WalkDir(v.card.dir, func(_ string, d fs.DirEntry, err error) error { //nolint:errcheck // files come and go
		if err != nil || d.IsDir() {
			return nil
		}
		for _, ext := range []string{cloud.ExtClip, cloud.ExtManifest} {
			if stem, ok := strings.CutSuffix(d.Name(), ext); ok && !strings.HasSuffix(d.Name(), cloud.ExtGap) {
				found[stem]++
			}
		}
		return nil
	})
	for name, n := range found {
		if _, known := since[name]; n == 2 && !known && !v.closed[name] {
			since[name] = now
		}
	}
}

// judge lets the camera recover once more, and upload; then what is on the card
// and in the storage is compared with what was filmed.
func (v *victim) judge() {
	t := v.t
	if err := v.s.StartCamera(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.s.WaitLive(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ReadKeys(v.s.Path("owner"))
	if err != nil {
		t.Fatal(err)
	}
	v.waitForGaps(keys)
	if err := v.s.Camera.Stop(); err != nil {
		t.Error(err)
	}
	r := v.read(keys)
	faults := append(r.Faults, r.Chain()...)
	here := map[string]bool{}
	for _, c := range r.Clips {
		here[c.Name] = true
	}
	for name := range v.closed {
		if !here[name] {
			faults = append(faults, name+" was closed and is lost")
		}
	}
	boots := r.Boots("main")
	missing := 0
	for _, b := range boots {
		wrong, n := b.Frames()
		faults, missing = append(faults, wrong...), missing+n
	}
	var most, sum time.Duration
	for _, l := range v.lives {
		lost := l.lost(boots)
		if lost > mayLose {
			faults = append(faults, fmt.Sprintf("started %s, cut %s: %s of footage lost", l.began.Format(time.TimeOnly), l.cut.Format("15:04:05.000"), lost))
		}
		most, sum = max(most, lost), sum+lost
	}
	for _, f := range faults {
		t.Error(f)
	}
	t.Logf("%d power cuts; %d clips, %d closed before the cut; %d gaps; %d frames lost by the board; footage lost a cut: %s at most, %s on average; %d violations", len(v.lives), len(r.Clips), len(v.closed),
		len(r.Gaps), missing, most.Round(time.Millisecond), (sum / time.Duration(len(v.lives))).Round(time.Millisecond), len(faults))
}

// waitForGaps: a camera signs them when it has run for some seconds.
func (v *victim) waitForGaps(keys audit.Keys) {
	v.t.Helper()
	for range 60 {
		if len(v.read(keys).Chain()) == 0 {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func (v *victim) read(keys audit.Keys) audit.Report {
	v.t.Helper()
	r, err := keys.Read(v.card.dir, v.s.Path("cloud"))
	if err != nil {
		v.t.Fatal(err)
	}
	return r
}

// lost is what was filmed before the cut and is in no clip.
func (l life) lost(boots []audit.Boot) time.Duration {
	for _, b := range boots {
		if b.Began.After(l.began) && b.Began.Before(l.cut) {
			return l.cut.Sub(b.Ended)
		}
	}
	return max(0, l.cut.Sub(l.began)-startsWithin)
}
