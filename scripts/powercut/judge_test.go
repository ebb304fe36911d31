//go:build powercut

package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
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
	promised map[string]string // by name: SHA-256 of closed objects that may not be missing
	released map[string]string // and of those whose room may have been needed since
	synced   map[string]int64  // bytes of the clip that is open

	// off: the power is being cut. A sync that meets that may be told to have gone
	// well by a kernel that will never be, in life: what is said from then on promises nothing.
	off atomic.Bool

	cuts, closed, finished int
	violations             []string
}

func newHistory(t *testing.T) *history {
	return &history{t: t, promised: map[string]string{}, released: map[string]string{}, synced: map[string]int64{}}
}

func (h *history) violation(format string, args ...any) {
	h.violations = append(h.violations, fmt.Sprintf("after cut %d: ", h.cuts)+fmt.Sprintf(format, args...))
}

// session reads what one writer says: it calls ready once the whole card is told,
// and returns when there is no more.
func (h *history) session(out io.Reader, ready func()) {
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
			ready()
		}
		f.hear(w, line)
	}
	if !f.told {
		h.violation("the card was not told whole")
	}
	h.cuts++
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
		if _, open := f.synced[name]; f.off.Load() && !open {
			f.synced[name] = 0
		}
		if f.off.Load() {
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
		f.released[name] = f.promised[name]
		delete(f.promised, name)
	case "failed:":
		// Once the power is off, so it ends.
		if !f.told {
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
	switch want, known := f.promised[name]; {
	case known && want != sum:
		f.violation("%s has other bytes", name)
	case known && uploaded:
		f.violation("%s counts as uploaded and is not", name)
	case known:
	case f.released[name] != "":
		if f.released[name] != sum {
			f.violation("%s, uploaded, has other bytes", name)
		}
		if !uploaded { // the cut came first: it is uploaded once more
			f.promised[name] = sum
		}
	case wasOpen: // cut between the card's own commit and the word of it
		f.promised[name] = sum
		delete(f.synced, name)
	case strings.HasSuffix(name, ".jpg.age"):
		f.promised[name] = sum
	default:
		f.violation("%s was never promised", name)
	}
}

// judge is called when the card is told.
func (f *found) judge() {
	f.told = true
	for _, name := range slices.Sorted(maps.Keys(f.before)) {
		if !f.here[name] {
			f.violation("%s was closed and is lost", name)
			delete(f.promised, name)
		}
	}
	for name, size := range f.synced {
		if size > 0 {
			f.violation("%s: %d bytes were synced, and nothing of it is there", name, size)
		}
		delete(f.synced, name)
	}
}

// between is a random moment after the card was told.
func between(from, to time.Duration, share float64) time.Duration {
	return from + time.Duration(share*float64(to-from))
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
