package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// history is what a camera has done and was told, up to the cut.
type history struct {
	content  map[string][]byte // of each file that it began to store
	kept     map[string]bool   // objects whose Commit or Add returned nil
	released map[string]bool   // Release was called
	told     map[string]bool   // a gap record on the card tells of them
	open     map[string]*filming
	limited  bool // objects may be given up
	fat      bool
}

// mayLack: a FAT may lose the manifest's name while a clip moves that the store
// has; what is left of it waits once more.
func (h *history) mayLack(name string) bool { return h.fat && h.released[name] }

// filming is a clip that is being written.
type filming struct {
	written   []byte
	synced    int // bytes, by a Sync that returned nil
	notes     int
	committed bool // Commit was called
}

func newHistory() *history {
	return &history{content: map[string][]byte{}, kept: map[string]bool{}, released: map[string]bool{}, told: map[string]bool{}, open: map[string]*filming{}}
}

const (
	minute       = 60 // seconds of the script
	fragmentSize = 180
	maxGaps      = 400 // bytes of all snapshots and gap records, which must not be given up
)

var epoch = time.Date(2026, 1, 2, 3, 59, 30, 0, time.UTC) // an hour ends in the middle

// camera films two streams for a minute: a fragment every two seconds each, with
// its note; a routine clip takes 12 s, an alarm's 4 s. For half a minute objects
// go up, then the uplink is gone, and the card is too small.
type camera struct {
	s    *Spool
	h    *history
	file [2]*File
	f    [2]*filming
	name [2]string
}

// film runs the script; it stops at the first error, as a process does that is killed.
func (c *camera) film() error {
	for second := 0; second < minute; second += 2 {
		for stream, length := range []int{12, 4} {
			if second%length == 0 {
				if err := c.turn(stream, second); err != nil {
					return err
				}
			}
			if err := c.fragment(stream, second); err != nil {
				return err
			}
		}
		if second%10 == 4 {
			if err := c.add(second, ".jpg.age", Snapshot, []byte(fmt.Sprint("picture ", second))); err != nil {
				return err
			}
		}
		if second%6 == 4 && second < minute/2 {
			if err := c.upload(); err != nil {
				return err
			}
		}
		if err := c.tellGaps(second); err != nil {
			return err
		}
	}
	return errors.Join(c.close(0, Routine), c.close(1, Alarm))
}

func clipAt(stream, second int) string {
	return cloud.ClipTime(epoch.Add(time.Duration(second)*time.Second)) + "-abcdefg" + string(rune('0'+stream))
}

// turn ends a stream's clip and begins the next.
func (c *camera) turn(stream, second int) (err error) {
	if err := c.close(stream, []Lane{Routine, Alarm}[stream]); err != nil {
		return err
	}
	name := clipAt(stream, second)
	c.name[stream], c.f[stream] = name, &filming{}
	c.h.open[name] = c.f[stream]
	c.file[stream], err = c.s.Create(name)
	return err
}

func (c *camera) fragment(stream, second int) error {
	file, f := c.file[stream], c.f[stream]
	p := bytes.Repeat([]byte{byte('a' + second%26), byte('A' + stream)}, (fragmentSize-second%7)/2)
	f.written = append(f.written, p...)
	for _, half := range [][]byte{p[:50], p[50:]} {
		if _, err := file.Write(half); err != nil {
			return err
		}
	}
	if err := file.Note([]byte(fmt.Sprintf(`{"bytes":%d}`, len(f.written)))); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	f.synced, f.notes = len(f.written), f.notes+1
	return nil
}

func manifestOf(name string) []byte { return []byte("manifest of " + name) }

func (c *camera) close(stream int, lane Lane) error {
	name, f := c.name[stream], c.f[stream]
	if f == nil {
		return nil
	}
	f.committed = true
	f.written = append(f.written, "the end of the seal"...) // that nobody synced
	if _, err := c.file[stream].Write([]byte("the end of the seal")); err != nil {
		return err
	}
	c.h.content[name+extClip], c.h.content[name+extManifest] = f.written, manifestOf(name)
	_, err := c.file[stream].Commit(lane, manifestOf(name))
	if err == nil {
		c.h.kept[name] = true
		delete(c.h.open, name)
	}
	return err
}

func (c *camera) add(second int, ext string, lane Lane, data []byte) error {
	name := clipAt(2, second) + ext
	c.h.content[name] = data
	_, err := c.s.Add(name, lane, data)
	if err == nil {
		c.h.kept[name] = true
	}
	return err
}

func (c *camera) upload() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o, err := c.s.Next(ctx)
	if err != nil {
		return err
	}
	c.h.released[o.Name] = true
	return c.s.Release(o)
}

// tellGaps is what the agent does with what was given up.
func (c *camera) tellGaps(second int) error {
	list, err := c.s.Dropped()
	if err != nil || len(list) == 0 {
		return err
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	if err := c.add(second, ".gap.jws", Routine, []byte(strings.Join(names, "\n"))); err != nil {
		return err
	}
	for _, n := range names {
		c.h.told[n] = true
	}
	return c.s.Forget(names...)
}

// play runs the script with the power cut at the given operation (0: never), and
// returns the card and what happened.
func play(t *testing.T, m *memFS, cfg Config, cut int) *history {
	h := newHistory()
	h.limited, h.fat = cfg.MaxBytes > 0, m.fat
	m.cutAt, cfg.FS = cut, m
	s, err := Open("/mnt/card", cfg)
	if err != nil {
		require.Positive(t, cut, err)
		return h
	}
	err = (&camera{s: s, h: h}).film()
	if cut == 0 {
		require.NoError(t, err)
		require.Equal(t, cfg.MaxBytes > 0, len(h.told) > 0, "the script must bring the card to its limit")
		require.Equal(t, cfg.MaxBytes > 0, s.Stats().Evicted > 0)
		require.Len(t, h.released, 5)
	}
	return h
}

// tally sums up what the checks saw.
type tally struct {
	cuts, unfinished, finished int
	lostBytes                  int // the most that a cut has cost of an open clip
	fatLost                    int // clips that a FAT lost in the middle of their own commit, and that Dropped tells of
}

// check opens the card anew and compares it with what was promised.
func check(t *testing.T, m *memFS, h *history, sum *tally, what string) {
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err, what)
	sum.cuts++
	gone := checkDropped(t, s, h, what)
	present := checkPresent(t, s, h, what)
	for name := range h.kept {
		if present[name] {
			require.False(t, h.told[name], "%s: %s is there, and a gap tells of it", what, name)
			require.False(t, gone[name], "%s: %s is there, and dropped", what, name)
			continue
		}
		require.True(t, h.limited && (gone[name] || h.told[name]) || h.released[name], "%s: %s is lost", what, name)
	}
	checkOrder(t, s, h, what)
	checkClean(t, m, s, what)
	left := map[string]Unfinished{}
	for _, u := range s.Unfinished() {
		left[u.Name] = u
		require.NotNil(t, h.open[u.Name], "%s: %s was not open", what, u.Name)
		require.False(t, present[u.Name], "%s: %s is open and closed", what, u.Name)
	}
	for name, f := range h.open {
		u, ok := left[name]
		switch {
		case ok:
			sum.unfinished++
			checkUnfinished(t, s, u, f, sum, what)
		case f.committed && present[name]:
		case f.committed && gone[name] && m.fat:
			sum.fatLost++
		default:
			require.Zero(t, f.synced, "%s: %s was open, and is lost", what, name)
		}
	}
	checkClean(t, m, s, what+", finished")
}

// checkPresent compares each file on the card with what was stored.
func checkPresent(t *testing.T, s *Spool, h *history, what string) map[string]bool {
	seen := map[string]bool{}
	for _, e := range list(t, s, Query{}) {
		require.False(t, seen[e.Name], "%s: %s twice", what, e.Name)
		seen[e.Name] = true
		require.True(t, !e.Uploaded || h.released[e.Name], "%s: %s was never released", what, e.Name)
		for _, n := range (&item{name: e.Name}).files() {
			r, err := s.Open(n)
			if errors.Is(err, fs.ErrNotExist) && n != e.Name+extClip && h.mayLack(e.Name) {
				continue
			}
			require.NoError(t, err, "%s: %s", what, n)
			got, _ := io.ReadAll(r)
			if !bytes.Equal(h.content[n], got) {
				t.Fatalf("%s: content of %s", what, n)
			}
		}
	}
	return seen
}

func checkDropped(t *testing.T, s *Spool, h *history, what string) map[string]bool {
	list, err := s.Dropped()
	require.NoError(t, err, what)
	gone := map[string]bool{}
	for _, d := range list {
		require.Equal(t, string(manifestOf(d.Name)), string(d.Manifest), what)
		require.NotNil(t, h.content[d.Name+extManifest], "%s: %s was never closed", what, d.Name)
		gone[d.Name] = true
	}
	return gone
}

// checkUnfinished closes a clip that was open, as its journal says. R3.
func checkUnfinished(t *testing.T, s *Spool, u Unfinished, f *filming, sum *tally, what string) {
	size := 0
	for _, n := range u.Notes {
		_, err := fmt.Sscanf(string(n), `{"bytes":%d}`, &size)
		require.NoError(t, err, what)
	}
	require.GreaterOrEqual(t, len(u.Notes), f.notes, "%s: notes of %s", what, u.Name)
	require.GreaterOrEqual(t, size, f.synced, "%s: %s", what, u.Name)
	require.LessOrEqual(t, int64(size), u.Size, "%s: a note tells of what is not there", what)
	require.LessOrEqual(t, len(f.written)-size, fragmentSize+len("the end of the seal"), "%s: more than a fragment is lost", what)
	sum.lostBytes = max(sum.lostBytes, len(f.written)-size)
	if size == 0 {
		require.NoError(t, s.Discard(u.Name), what)
		return
	}
	file, err := s.Finish(u.Name, int64(size))
	require.NoError(t, err, what)
	require.Equal(t, sha256.Sum256(f.written[:size]), file.SHA256(), "%s: content of %s", what, u.Name)
	o, err := file.Commit(Routine, []byte("late manifest"))
	require.NoError(t, err, what)
	require.EqualValues(t, size, o.Parts[0].Size)
	require.True(t, s.Has(u.Name))
	sum.finished++
}

// checkOrder drains the spool: urgent ones first, in the order of time, hashes right.
func checkOrder(t *testing.T, s *Spool, h *history, what string) {
	last := Object{}
	for range s.Stats().Pending {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		o, err := s.Next(ctx)
		cancel()
		require.NoError(t, err, what)
		require.True(t, last.Name == "" || o.Lane > last.Lane || o.Lane == last.Lane && o.Name > last.Name, "%s: %s after %s", what, o.Name, last.Name)
		last = o
		require.True(t, !isClip(o.Name) || len(o.Parts) == 2 || h.mayLack(o.Name), "%s: %s has no manifest", what, o.Name)
		for _, p := range o.Parts {
			r, err := s.Open(p.Name)
			require.NoError(t, err, what)
			got, _ := io.ReadAll(r)
			if sha256.Sum256(got) != p.SHA256 || int64(len(got)) != p.Size {
				t.Fatalf("%s: sum or size of %s", what, p.Name)
			}
		}
	}
}

// checkClean finds no bytes but those that are counted, and no temporary file.
func checkClean(t *testing.T, m *memFS, s *Spool, what string) {
	require.Equal(t, m.objectBytes(), s.Stats().UsedBytes, "%s: used bytes", what)
	for path, d := range m.dirs {
		for name := range d.now {
			require.False(t, strings.HasSuffix(name, extTmp) && filepath.Base(path) != dirIndex, "%s: %s/%s", what, path, name)
		}
	}
}

// chances with which what was not synced survives.
var chances = []float64{0, 1, 0.6}

func TestR2_R3_KillAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, fat := range []bool{false, true} {
		for _, limit := range []int64{0, 5000} {
			cfg := Config{MaxBytes: limit}
			t.Run(fmt.Sprintf("fat=%v,limit=%d", fat, limit), func(t *testing.T) {
				t.Parallel()
				whole := newMemFS()
				play(t, whole, cfg, 0)
				require.Greater(t, whole.ops, 500)
				var sum tally
				step := 1
				if limit == 0 { // a part of what happens with a limit
					step = 5
				}
				for cut := 1; cut <= whole.ops+1; cut += step {
					m := newMemFS()
					m.fat = fat
					h := play(t, m, cfg, cut)
					for i, keep := range chances {
						rng := rand.New(rand.NewPCG(uint64(cut), uint64(i)))
						check(t, m.powerCut(rng, keep), h, &sum, fmt.Sprintf("cut at %d of %d, keep %v", cut, whole.ops, keep))
					}
				}
				require.True(t, fat || sum.fatLost == 0)
				t.Logf("%d kill points, %d power cuts, violations: 0; %d open clips found, %d closed, at most %d bytes of one lost (a fragment has %d, the end of a seal 19); lost in their own rename and told: %d",
					(whole.ops+step)/step, sum.cuts, sum.unfinished, sum.finished, sum.lostBytes, fragmentSize, sum.fatLost)
			})
		}
	}
}

// A cut during recovery itself must be as harmless.
func TestR2_R3_KillDuringRecovery(t *testing.T) {
	t.Parallel()
	for _, fat := range []bool{false, true} {
		t.Run(fmt.Sprintf("fat=%v", fat), func(t *testing.T) {
			t.Parallel()
			cfg := Config{MaxBytes: 5000}
			whole := newMemFS()
			play(t, whole, cfg, 0)
			var sum tally
			for cut := 1; cut <= whole.ops; cut += 11 {
				m := newMemFS()
				m.fat = fat
				h := play(t, m, cfg, cut)
				rng := rand.New(rand.NewPCG(uint64(cut), 0))
				for second := 1; second < 60; second += 5 {
					again := m.powerCut(rng, 0.5)
					again.cutAt = second
					Open("/mnt/card", Config{FS: again})
					check(t, again.powerCut(rng, 0.5), h.clone(), &sum, fmt.Sprintf("cut at %d, then at %d of recovery", cut, second))
				}
			}
			t.Logf("%d cuts of a minute and of the recovery after it, violations: 0", sum.cuts)
		})
	}
}

func (h *history) clone() *history {
	c := *h
	c.open = maps.Clone(h.open)
	return &c
}
