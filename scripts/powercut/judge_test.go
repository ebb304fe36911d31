//go:build powercut

package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// history is what a card's writers were promised, and what was found.
type history struct {
	t        *testing.T
	promised map[string]string // by name: sums of closed objects that may not be missing
	released map[string]string // and of those whose room may have been needed since; "": not known
	synced   map[string]int64  // bytes of the clip that is open

	// off: the power is being cut. A sync that meets that may be told to have gone
	// well by a kernel that will never be, in life: what is said from then on promises nothing.
	off atomic.Bool

	said map[string][]string // by name: all that was said of it, for who looks for a cause

	cuts, closed, finished int
	violations             []string
}

func newHistory(t *testing.T) *history {
	return &history{t: t, promised: map[string]string{}, released: map[string]string{}, synced: map[string]int64{}, said: map[string][]string{}}
}

func (h *history) violation(format string, args ...any) {
	h.violations = append(h.violations, fmt.Sprintf("after cut %d: ", h.cuts)+fmt.Sprintf(format, args...))
}

// session reads what one writer says, until there is no more. Once the whole card
// is told, and so many words more, it calls cut: moments are counted in words, so
// that a busy machine has the same ones. It returns whether it came to that.
func (h *history) session(out io.Reader, words int, cut func()) (called bool) {
	h.t.Helper()
	h.off.Store(false)
	f := found{history: h, before: maps.Clone(h.promised), here: map[string]bool{}}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil { // half a line says nothing
			break
		}
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		if w[0] == sayReady && !f.told {
			f.judge()
		}
		f.hear(w, line)
		if f.told && !called {
			if called = words == 0; called {
				cut()
			}
			words--
		}
	}
	if !f.told {
		h.violation("the card was not told whole")
	}
	h.cuts++
	return called
}

// found is what one writer finds.
type found struct {
	*history
	told   bool
	before map[string]string
	here   map[string]bool
}

func (f *found) hear(w []string, line string) {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	n, _ := strconv.ParseInt(arg(2), 10, 64)
	off := f.off.Load()
	f.said[arg(1)] = append(f.said[arg(1)], fmt.Sprintf("%d (off: %t): %.60s", f.cuts, off, strings.TrimSpace(line)))
	switch name := arg(1); w[0] {
	case sayHere:
		f.look(name, arg(2), arg(3) == "uploaded")
	case sayDropped:
		f.violation("%s was given up, although there was room", name)
	case sayFinished:
		f.finished++
		if promised := f.synced[name]; n < promised {
			f.violation("%s: %d bytes closed after the cut, %d were synced", name, n, promised)
		}
		delete(f.synced, name)
	case saySynced, sayClosed:
		if _, open := f.synced[name]; off && !open {
			f.synced[name] = 0
		}
		if off {
			return
		}
		if w[0] == saySynced {
			f.synced[name] = n
			return
		}
		f.promised[name] = arg(2)
		delete(f.synced, name)
		f.closed++
	case sayGone:
		// That it was closed may have been said while the power went: then it is not promised.
		f.released[name] = f.promised[name]
		delete(f.promised, name)
		delete(f.synced, name)
	case "failed:":
		if !f.told || !off { // once the power is off, so it ends
			f.violation("%s", strings.TrimSpace(line))
		}
	}
}

// look compares an object of the card with what was promised.
func (f *found) look(name, sum string, uploaded bool) {
	if f.here[name] {
		f.violation("%s is there twice", name)
	}
	f.here[name] = true
	_, wasOpen := f.synced[name]
	want, known := f.promised[name]
	was, released := f.released[name]
	switch {
	case known && want != sum:
		f.violation("%s has other bytes", name)
	case released && was != "" && was != sum:
		f.violation("%s, uploaded, has other bytes", name)
	case uploaded && !released:
		f.violation("%s counts as uploaded and is not", name)
	case uploaded, known:
	case released, wasOpen, strings.HasSuffix(name, ".jpg.age"):
		// Cut before the card knew of the upload: there will be another one. Or cut
		// between the card's own commit and the word of it.
		f.promised[name] = sum
		delete(f.released, name)
		delete(f.synced, name)
	default:
		f.violation("%s was never promised", name)
	}
}

// judge is called when the card is told.
func (f *found) judge() {
	f.told = true
	for _, name := range slices.Sorted(maps.Keys(f.before)) {
		if !f.here[name] {
			f.violation("%s was closed and is lost; said of it: %q", name, f.said[name])
			delete(f.promised, name)
		}
	}
	for name, size := range f.synced {
		if size > 0 {
			f.violation("%s: %d bytes were synced, and nothing of it is there; said of it: %q", name, size, f.said[name])
		}
		delete(f.synced, name)
	}
}

// moment is a random time, more often a short one: what was said last is what a cut
// right then must not undo.
func moment(rng *rand.Rand, most time.Duration) time.Duration {
	share := rng.Float64()
	return time.Duration(share * share * share * float64(most))
}

// end reports.
func (h *history) end(what string) {
	h.t.Helper()
	for _, v := range h.violations[:min(len(h.violations), 50)] {
		h.t.Error(v)
	}
	if h.closed < h.cuts || h.finished < h.cuts/4 {
		h.t.Errorf("only %d clips closed and %d finished in %d cuts: the moments are badly chosen", h.closed, h.finished, h.cuts)
	}
	h.t.Logf("%s: %d power cuts, %d objects promised, %d clips finished after a cut: %d violations", what, h.cuts, h.closed, h.finished, len(h.violations))
}
