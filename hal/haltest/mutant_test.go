package haltest_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

// mutant is a simulator that breaks one sentence of the contract.
type mutant struct {
	finds string   // the case that must find it
	also  []string // cases that can't but find it too
	how   string
	// make returns the board and its parts; it may keep what must be let go at the
	// end of the run.
	make func(*sim.Board, *afterwards) (hal.Board, []any)
	only []string // the cases of the run
	// unplug is for the case that needs it.
	unplug bool
	// again: what is wrong at the first opening is so with each new board.
	again bool
}

// afterwards lets go what a mutant holds, so that a bubble can end.
type afterwards struct {
	done chan struct{}
	list []func()

	mu     sync.Mutex
	opened map[string]int // how often each stream was opened
}

func (a *afterwards) do(f func()) { a.list = append(a.list, f) }

// small streams, so that a run is cheap.
func small() sim.Config {
	stream := func(name string, w, h, bitrate int) hal.StreamInfo {
		return hal.StreamInfo{Name: name, Default: hal.VideoConfig{Width: w, Height: h, FPS: 25, GOP: 50, Bitrate: bitrate}}
	}
	return sim.Config{Streams: []hal.StreamInfo{stream("main", 384, 216, 700_000), stream("sub", 320, 180, 500_000)}}
}

// run lets the suite look at a mutant.
func (m *mutant) run(t *testing.T, suite func(context.Context, haltest.Subject) haltest.Report) haltest.Report {
	after := &afterwards{done: make(chan struct{}), opened: map[string]int{}}
	defer func() {
		close(after.done)
		for _, f := range after.list {
			f()
		}
	}()
	var now *sim.Board
	s := haltest.Subject{
		Name: m.finds, Shared: true, Destructive: true, Only: m.only,
		Open: func(context.Context) (hal.Board, []any, error) {
			if m.again {
				after.mu.Lock()
				clear(after.opened)
				after.mu.Unlock()
			}
			now = sim.New(small())
			after.do(func() { now.Close() })
			b, parts := m.make(now, after)
			return b, parts, nil
		},
	}
	if m.unplug {
		s.Unplug = func() error { return tell(t, now, "unplug for=2s") }
		s.Replug = func() error { return nil }
	}
	return suite(t.Context(), s)
}

// M13: every case finds the mutant that breaks its sentence, and says so; no
// other case finds it but those that can't help it.
func TestM13_EachCaseFindsItsMutant(t *testing.T) {
	t.Parallel()
	// A whole run costs a second: mutants of a kind are looked at by the cases that
	// can meet them.
	var list []mutant
	kinds := [][]mutant{slices.Concat(videoMutants(), soundMutants()), slices.Concat(steerMutants(), lifeMutants()), partMutants()}
	for _, kind := range kinds {
		var only []string
		for i := range kind {
			only = append(only, kind[i].finds)
		}
		for i := range kind {
			kind[i].only = only
		}
		list = append(list, kind...)
	}
	for _, m := range list {
		t.Run(m.finds, func(t *testing.T) {
			t.Parallel()
			var r haltest.Report
			synctest.Test(t, func(t *testing.T) { r = m.run(t, calm) })
			if r.OK {
				t.Fatalf("%s: not found", m.how)
			}
			for _, one := range r.Results {
				own := one.Name == m.finds
				switch {
				case own && one.Outcome != haltest.Failed:
					t.Errorf("%s: not found: %s %s", m.how, one.Outcome, one.Reason)
				case own:
					t.Logf("%s: %s", m.how, one.Reason)
				case one.Outcome == haltest.Failed && !slices.Contains(m.also, one.Name):
					t.Errorf("%s: found by %s too: %s", m.how, one.Name, one.Reason)
				}
			}
		})
	}
	t.Run("none is missing", func(t *testing.T) {
		for _, c := range haltest.Cases() {
			known := func(m mutant) bool { return m.finds == c.Name }
			// What is left behind is of the process: TestM13_WhatIsLeftIsFound.
			if !slices.ContainsFunc(list, known) && !strings.HasSuffix(c.Name, "-left") {
				t.Errorf("case %s has no mutant", c.Name)
			}
		}
	})
}
