package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// history is what the world was told before the cut.
type history struct {
	want     map[string][]byte // file name → content, of objects whose Commit or Add returned nil
	started  map[string][]byte // content that may be there: the caller was not told
	released map[string]bool
	// mayGo: released objects may be missing, because they are evicted or because
	// this card's renames between folders are not atomic.
	mayGo bool
}

func clipBytes(i int) (clip, manifest []byte) {
	return bytes.Repeat([]byte(fmt.Sprintf("clip %d.", i)), 100+i), []byte(fmt.Sprintf("manifest of %d", i))
}

func nameAt(i int) string {
	return fmt.Sprintf("20260102T%02d%02d00.000Z-abcdefgh", 3+i/4, i)
}

// script is a few hours of a camera in short; it stops at the first error, as
// a process does that is killed.
func script(s *Spool, h *history) {
	for i := range 6 {
		if !record(s, h, i) {
			return
		}
		for range i % 3 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			o, err := s.Next(ctx)
			cancel()
			if err != nil {
				return
			}
			h.released[o.Name] = true
			if s.Release(o) != nil {
				return
			}
		}
	}
}

func record(s *Spool, h *history, i int) bool {
	clip, manifest := clipBytes(i)
	lane := []Lane{Routine, Alarm}[i%2]
	f, err := s.Create(nameAt(i))
	if err != nil {
		return false
	}
	for rest := clip; len(rest) > 0; rest = rest[min(len(rest), 150):] {
		if _, err := f.Write(rest[:min(len(rest), 150)]); err != nil {
			return false
		}
		if len(rest) > 150 && f.Sync() != nil { // the last bytes are Commit's to sync
			return false
		}
	}
	h.started[nameAt(i)+extClip], h.started[nameAt(i)+extManifest] = clip, manifest
	if _, err = f.Commit(lane, manifest); err != nil {
		return false
	}
	h.want[nameAt(i)+extClip], h.want[nameAt(i)+extManifest] = clip, manifest
	if i%2 == 0 {
		snap := nameAt(i) + ".jpg.age"
		h.started[snap] = clip[:50]
		if _, err := s.Add(snap, Snapshot, clip[:50]); err != nil {
			return false
		}
		h.want[snap] = clip[:50]
	}
	return true
}

// check opens the card anew and compares it with what was promised.
func check(t *testing.T, m *memFS, h *history, what string) {
	t.Helper()
	s, err := Open("/mnt/card", Config{FS: m})
	require.NoError(t, err, what)
	seen := map[string]bool{}
	for _, e := range list(t, s, Query{}) {
		require.False(t, seen[e.Name], "%s: %s twice", what, e.Name)
		seen[e.Name] = true
		names := namesOf(s, e.Name)
		lost := h.mayGo && h.released[e.Name]
		require.True(t, len(e.Name) != stemLen || len(names) == 2 || lost, "%s: %s has no manifest", what, e.Name)
		if e.Uploaded {
			require.True(t, h.released[e.Name], "%s: %s was never released", what, e.Name)
		}
		for _, n := range names {
			r, err := s.Open(n)
			require.NoError(t, err, what)
			got, _ := io.ReadAll(r)
			require.Equal(t, string(h.started[n]), string(got), "%s: content of %s", what, n)
			delete(h.want, n)
		}
	}
	for n := range h.want {
		require.True(t, h.mayGo && (h.released[stemOf(n)] || h.released[n]), "%s: %s is lost", what, n)
	}
	checkOrder(t, s, what)
	checkClean(t, m, s, what)
}

// checkOrder drains the spool: urgent ones first, in the order of time, hashes right.
func checkOrder(t *testing.T, s *Spool, what string) {
	t.Helper()
	last := Object{}
	for range s.Stats().Pending {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		o, err := s.Next(ctx)
		cancel()
		require.NoError(t, err, what)
		require.True(t, last.Name == "" || o.Lane > last.Lane || o.Lane == last.Lane && o.Name > last.Name, "%s: %s after %s", what, o.Name, last.Name)
		last = o
		for _, p := range o.Parts {
			r, err := s.Open(p.Name)
			require.NoError(t, err, what)
			got, _ := io.ReadAll(r)
			require.Equal(t, sha256.Sum256(got), p.SHA256, what)
			require.EqualValues(t, len(got), p.Size, what)
		}
	}
}

// checkClean finds no files but those of known objects, and no bytes uncounted.
func checkClean(t *testing.T, m *memFS, s *Spool, what string) {
	t.Helper()
	require.Equal(t, m.objectBytes(), s.Stats().UsedBytes, "%s: used bytes", what)
}

// namesOf lists an object's files.
func namesOf(s *Spool, name string) (out []string) {
	for _, n := range []string{name, name + extClip, name + extManifest} {
		if f, err := s.Open(n); err == nil {
			f.Close()
			out = append(out, n)
		}
	}
	return out
}

func TestR2_KillAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {MaxBytes: 4000}} {
		points := runUntil(t, newMemFS(), cfg, 0, nil)
		require.Greater(t, points, 100)
		for cut := 1; cut <= points+1; cut++ {
			for i, keep := range []float64{0, 1, 0.5, 0.5, 0.5} {
				m := newMemFS()
				h := &history{want: map[string][]byte{}, started: map[string][]byte{}, released: map[string]bool{}, mayGo: cfg.MaxBytes > 0 || keep == 0.5}
				runUntil(t, m, cfg, cut, h)
				rng := rand.New(rand.NewPCG(uint64(cut), uint64(i)))
				what := fmt.Sprintf("cut at %d of %d, keep %v", cut, points, keep)
				check(t, m.powerCut(rng, keep), h, what)
			}
		}
		t.Logf("%d kill points × 5 power cuts, limit %d: no violation", points, cfg.MaxBytes)
	}
}

// A cut during recovery itself must be as harmless.
func TestR2_KillDuringRecovery(t *testing.T) {
	t.Parallel()
	points := runUntil(t, newMemFS(), Config{}, 0, nil)
	for cut := 1; cut <= points; cut += 3 {
		for second := 1; second < 40; second += 2 {
			m := newMemFS()
			h := &history{want: map[string][]byte{}, started: map[string][]byte{}, released: map[string]bool{}, mayGo: true}
			runUntil(t, m, Config{}, cut, h)
			rng := rand.New(rand.NewPCG(uint64(cut), uint64(second)))
			m = m.powerCut(rng, 0.5)
			m.cutAt = second
			Open("/mnt/card", Config{FS: m})
			check(t, m.powerCut(rng, 0.5), h, fmt.Sprintf("cut at %d, then at %d of recovery", cut, second))
		}
	}
}

// runUntil runs the script with the power cut at the given operation, and
// returns how many there were.
func runUntil(t *testing.T, m *memFS, cfg Config, cut int, h *history) int {
	t.Helper()
	if h == nil {
		h = &history{want: map[string][]byte{}, started: map[string][]byte{}, released: map[string]bool{}}
	}
	m.cutAt = cut
	cfg.FS = m
	s, err := Open("/mnt/card", cfg)
	if err != nil {
		require.Positive(t, cut)
		return m.ops
	}
	script(s, h)
	if cut == 0 {
		require.Equal(t, 15, len(h.want), "the script must run to its end")
		require.Equal(t, cfg.MaxBytes > 0, s.Stats().Evicted > 0)
	}
	return m.ops
}
