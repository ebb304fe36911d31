//go:build powercut

package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/scripts/powercut/audit"
	"iid2secure.nl/camagent/scripts/stack"
)

const (
	cameras    = 5  // at the same time
	cameraCuts = 40 // of each
	mayLose    = 2 * time.Second
	// A camera is cut within startUp, or within filming of its first picture.
	startUp = 800 * time.Millisecond
	filming = 3500 * time.Millisecond
	// filmsWithin is when a camera that has not begun to record never will.
	filmsWithin = time.Minute
	lookEvery   = 20 * time.Millisecond
	// A machine that does not come to look for so long has stood still: that is no
	// time in which a camera could have written.
	stoodStill = 200 * time.Millisecond
)

// clipLengths: with short clips many are closed before the cut; a long one that is
// open then, and lost as a whole, has more in it than may be lost.
var clipLengths = []string{"10s", "2s"}

var bin = flag.String("bin", "", "folder of the built programs")

// victim is a camera, its flash and its card.
type victim struct {
	t           *testing.T
	s           *stack.Stack
	flash, card *disk
	lives       []life
	logged      string          // what earlier lives have logged
	noted       map[string]int  // fragments in the journals of clips that were open when the power went
	closed      map[string]bool // clips that lay on the card as closed when the power went
}

// life is from start to cut.
type life struct {
	began, cut time.Time
	filmed     time.Time     // when it was seen to record; zero: not before the cut
	still      time.Duration // for how long the machine stood still since
	held       time.Duration // for how long the camera's threads have waited for a processor since
	lossy      bool          // the board has told that it lost frames: it is simulated, and keeps time
}

// TestR2_R3_PowerCutOfTheCamera cuts the power of flash and card of cameras that
// record and upload, at random moments.
func TestR2_R3_PowerCutOfTheCamera(t *testing.T) {
	t.Parallel()
	if *bin == "" {
		t.Fatal("-bin is missing: make test-powercut gives it")
	}
	for i := range cameras {
		t.Run(fmt.Sprintf("camera %d", i), func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, clipLengths[i%len(clipLengths)])
			rng := rand.New(rand.NewPCG(5, uint64(i)))
			for range cameraCuts {
				v.live(rng)
			}
			v.judge()
		})
	}
}

func newVictim(t *testing.T, clipLength string) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{t: t, noted: map[string]int{}, closed: map[string]bool{}}
	v.flash = newDisk(t, filepath.Join(dir, "camera"), 16)
	v.card = newDisk(t, filepath.Join(dir, "camera", "card"), 256)
	var err error
	v.s, err = stack.New(t.Context(), stack.Options{Bin: *bin, Dir: dir, Camera: map[string]any{
		"record": map[string]any{"clip_length": clipLength},
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
	l := v.begin()
	if rng.IntN(5) == 0 {
		v.watch(&l, l.began.Add(time.Duration(rng.Int64N(int64(startUp)))))
	} else {
		v.watch(&l, time.Time{})
		v.watch(&l, time.Now().Add(time.Duration(rng.Int64N(int64(filming)))))
	}
	disks := []*disk{v.flash, v.card}
	rng.Shuffle(2, func(i, j int) { disks[i], disks[j] = disks[j], disks[i] })
	l.held = v.waited() - l.held
	l.cut = time.Now()
	err := switchOff(disks...)
	v.s.Camera.Kill()
	if err != nil {
		v.t.Fatal(err)
	}
	v.end(l)
	v.card.unmount()
	v.flash.unmount()
	v.flash.switchOn()
	v.card.switchOn()
}

func (v *victim) begin() life {
	v.t.Helper()
	v.logged = v.log()
	l := life{began: time.Now()}
	if err := v.s.StartCamera(); err != nil {
		v.t.Fatal(err)
	}
	return l
}

func (v *victim) end(l life) {
	l.lossy = strings.Contains(v.log()[len(v.logged):], "stream.main.lost")
	v.lives = append(v.lives, l)
}

// waited is for how long the threads of the camera were ready to run and did not:
// how long others have held it up (proc(5), schedstat).
func (v *victim) waited() (sum time.Duration) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", v.s.Camera.PID()))
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		var ran, waited int64
		if _, e := fmt.Sscan(string(b), &ran, &waited); err == nil && e == nil {
			sum += time.Duration(waited)
		}
	}
	return sum
}

func (v *victim) log() string {
	v.t.Helper()
	b, err := os.ReadFile(v.s.Path("camagent.log"))
	if err != nil {
		v.t.Fatal(err)
	}
	return string(b)
}

// watch looks at the card until then; zero: until a clip of this life is begun.
func (v *victim) watch(l *life, until time.Time) {
	v.t.Helper()
	var before map[string]bool
	for turn := time.Now(); ; {
		before = v.look(l, before)
		switch {
		case until.IsZero() && !l.filmed.IsZero(), !until.IsZero() && !time.Now().Before(until):
			return
		case until.IsZero() && time.Since(l.began) > filmsWithin:
			v.t.Fatalf("after cut %d the camera does not record", len(v.lives))
		}
		wait := lookEvery
		if !until.IsZero() {
			wait = min(wait, time.Until(until))
		}
		time.Sleep(wait)
		if took := time.Since(turn); took > stoodStill && !l.filmed.IsZero() {
			l.still += took
		}
		turn = time.Now()
	}
}

// look finds the clips that are closed, and the one that is open. A clip is closed,
// beyond doubt, when its own name and its manifest were there at the last look,
// and its journal is gone at this one: that goes last (docs/card.md).
func (v *victim) look(l *life, before map[string]bool) (named map[string]bool) {
	files, open := map[string]int{}, map[string]bool{}
	filepath.WalkDir(v.card.dir, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // files come and go
		if err != nil || d.IsDir() {
			return nil
		}
		if stem, ok := strings.CutSuffix(d.Name(), ".notes"); ok {
			open[stem] = true
			if b, err := os.ReadFile(path); err == nil {
				v.noted[stem] = bytes.Count(b, []byte("\n")) - 1 // the first line is the clip's head
			}
			return nil
		}
		for _, ext := range []string{cloud.ExtClip, cloud.ExtManifest} {
			if stem, ok := strings.CutSuffix(d.Name(), ext); ok && !strings.HasSuffix(d.Name(), cloud.ExtGap) {
				files[stem]++
			}
		}
		return nil
	})
	for name := range open {
		if began, err := cloud.ParseClipName(name); err == nil && began.After(l.began) && l.filmed.IsZero() {
			l.filmed, l.held = time.Now(), v.waited()
		}
	}
	named = map[string]bool{}
	for name, n := range files {
		named[name] = n >= 2
		if before[name] && !open[name] {
			v.closed[name] = true
		}
	}
	return named
}

// judge lets the camera recover once more, and upload; then what is on the card
// and in the storage is compared with what was filmed.
func (v *victim) judge() {
	t := v.t
	last := v.begin()
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
	cuts := v.lives
	last.cut = time.Now()
	v.end(last)
	r := v.read(keys)
	faults := append(r.Faults, r.Chain()...)
	here := map[string]bool{}
	for _, c := range r.Clips {
		here[c.Name] = true
		// The bytes of a fragment are synced before its note is written, and its note
		// before the next one's bytes: all but the last are there.
		if n := v.noted[c.Name]; c.Pictures < n-1 {
			faults = append(faults, fmt.Sprintf("%s has %d pictures, and %d fragments were noted", c.Name, c.Pictures, n))
		}
	}
	for name, n := range v.noted {
		if n >= 2 && !here[name] {
			faults = append(faults, fmt.Sprintf("%s is lost, and %d fragments were noted", name, n))
		}
	}
	for name := range v.closed {
		if !here[name] {
			faults = append(faults, name+" was closed and is lost")
		}
	}
	boots := r.Boots("main")
	missing := 0
	for _, b := range boots {
		b.Lossy = slices.ContainsFunc(v.lives, func(l life) bool { return l.lossy && l.has(b) })
		wrong, n := b.Frames()
		faults, missing = append(faults, wrong...), missing+n
	}
	var most, sum, still, held time.Duration
	filmed := 0
	for _, l := range cuts {
		lost := l.lost(boots)
		if lost > mayLose+l.still+l.held {
			faults = append(faults, fmt.Sprintf("started %s, cut %s: %s of footage lost", l.began.Format(time.TimeOnly), l.cut.Format("15:04:05.000"), lost))
		}
		most, sum, still, held = max(most, lost), sum+lost, max(still, l.still), held+l.held
		if !l.filmed.IsZero() {
			filmed++
		}
	}
	if len(v.closed) < len(cuts)/4 || filmed < len(cuts)/2 {
		t.Errorf("only %d clips were closed and %d lives filmed: the moments are badly chosen", len(v.closed), filmed)
	}
	v.search(keys, r)
	for _, f := range faults {
		t.Error(f)
	}
	t.Logf("%d power cuts; %d clips, %d closed before the cut; %d gaps; %d frames lost by the board; footage lost a cut: %s at most, %s on average (the machine stood still for %s at most, the camera waited for it for %s on average); %d violations",
		len(cuts), len(r.Clips), len(v.closed), len(r.Gaps), missing, most.Round(time.Millisecond),
		(sum / time.Duration(max(1, filmed))).Round(time.Millisecond), still.Round(time.Millisecond), (held / time.Duration(max(1, filmed))).Round(time.Millisecond), len(faults))
}

// waitForGaps: a camera signs them when it has run for some seconds.
func (v *victim) waitForGaps(keys audit.Keys) {
	v.t.Helper()
	for range 120 {
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

func (l life) has(b audit.Boot) bool { return b.Began.After(l.began) && b.Began.Before(l.cut) }

// lost is what was filmed before the cut and is in no clip.
func (l life) lost(boots []audit.Boot) time.Duration {
	for _, b := range boots {
		if l.has(b) {
			return l.cut.Sub(b.Ended)
		}
	}
	if l.filmed.IsZero() {
		return 0
	}
	return l.cut.Sub(l.filmed)
}
