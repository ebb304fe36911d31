// Package gpio drives single lines of general purpose input and output by
// whatever the kernel has: the character device's second interface (Linux
// 5.10), its first (4.8), or sysfs (older, and for lines named by number).
//
// A requested line belongs to us until Close; the kernel calls us "camagent".
// What a line does after Close is the chip's matter.
package gpio

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// consumer is how the kernel tells others who holds a line.
const consumer = "camagent"

// API is an interface of the kernel.
type API string

// The interfaces; Auto takes the first that there is.
const (
	Auto  API = ""
	V2    API = "v2"
	V1    API = "v1"
	Sysfs API = "sysfs"
)

// System is where lines are looked for.
type System struct {
	Root string // the directory of sys and dev; empty: /
	API  API
}

// Edge is a change of a line.
type Edge struct {
	Active bool
	Time   time.Time // monotonic
}

// handle is a line as one interface of the kernel gives it.
type handle interface {
	get() (bool, error)
	set(active bool) error
	// poll is what to wait for; fd -1: no edges here, sample the line.
	poll() (fd int, events int16)
	// edges reads what happened, without waiting.
	edges() ([]Edge, error)
	// debounces tells that edges are those of a line that was still.
	debounces() bool
	close() error
}

// Line is a requested line. Its methods may be called from any goroutine; but
// whoever waits on Poll's file descriptor sees to it that Close comes later.
type Line struct {
	spec Spec
	api  API

	mu sync.Mutex
	h  handle // nil: closed
}

// wish is how a line is to be requested.
type wish struct {
	output    bool
	initial   bool // of an output
	activeLow bool
	edges     bool          // of an input
	debounce  time.Duration // of edges
}

// Output requests a line for output, which begins with initial.
func (s System) Output(line Spec, activeLow, initial bool) (*Line, error) {
	return s.request(line, wish{output: true, initial: initial, activeLow: activeLow})
}

// Input requests a line for input.
func (s System) Input(line Spec, activeLow bool) (*Line, error) {
	return s.request(line, wish{activeLow: activeLow})
}

// Edges requests a line for input whose changes can be waited for, if the
// hardware has interrupts; the kernel debounces them if it can.
func (s System) Edges(line Spec, activeLow bool, debounce time.Duration) (*Line, error) {
	l, err := s.request(line, wish{activeLow: activeLow, edges: true, debounce: debounce})
	if err == nil || errors.Is(err, hal.ErrBusy) || errors.Is(err, hal.ErrNotFound) {
		return l, err
	}
	plain, plainErr := s.Input(line, activeLow) // to be sampled
	if plainErr != nil {
		return nil, err
	}
	return plain, nil
}

func (s System) request(line Spec, w wish) (*Line, error) {
	h, api, err := s.open(line, w)
	if err != nil {
		return nil, fmt.Errorf("line %q: %w", line, err)
	}
	return &Line{spec: line, api: api, h: h}, nil
}

func (s System) open(line Spec, w wish) (handle, API, error) {
	byNumber := line.Chip == "" && line.Name == ""
	if s.API == Sysfs || s.API == Auto && (byNumber || len(s.chips()) == 0) {
		h, err := s.openSysfs(line, w)
		return h, Sysfs, err
	}
	if byNumber {
		return nil, s.API, errors.New("a number is for /sys/class/gpio alone, want chip and line")
	}
	c, offset, err := s.find(line)
	if err != nil {
		return nil, s.API, err
	}
	defer c.close()
	return c.request(offset, w, s.API)
}

// API tells which interface of the kernel gives the line.
func (l *Line) API() API { return l.api }

// Get reads the line; of an output, what it is driven to.
func (l *Line) Get() (active bool, err error) {
	err = l.with(func(h handle) error { active, err = h.get(); return err })
	return active, err
}

// Set drives an output.
func (l *Line) Set(active bool) error {
	return l.with(func(h handle) error { return h.set(active) })
}

// Read returns what happened at a line of Edges, without waiting.
func (l *Line) Read() (list []Edge, err error) {
	err = l.with(func(h handle) error { list, err = h.edges(); return err })
	return list, err
}

// Poll is what to wait for with poll(2); fd -1: the line has no interrupts and
// is to be sampled.
func (l *Line) Poll() (fd int, events int16) {
	fd = -1
	_ = l.with(func(h handle) error { fd, events = h.poll(); return nil })
	return fd, events
}

// Debounced tells whether the kernel debounces the edges.
func (l *Line) Debounced() (yes bool) {
	_ = l.with(func(h handle) error { yes = h.debounces(); return nil })
	return yes
}

// Close gives the line back. A second call does nothing.
func (l *Line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		return nil
	}
	err := l.h.close()
	l.h = nil
	return err
}

func (l *Line) with(do func(handle) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h == nil {
		return fmt.Errorf("line %q: %w", l.spec, hal.ErrClosed)
	}
	if err := do(l.h); err != nil {
		return sysfs.Explain(err, fmt.Sprintf("line %q", l.spec))
	}
	return nil
}

// when makes a time of the kernel's stamp, in nanoseconds of CLOCK_MONOTONIC,
// or of CLOCK_REALTIME on kernels before 5.7.
func when(stamp uint64) time.Time {
	return kernel.When(time.Duration(stamp), unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME)
}
