package peripheral

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// output is a line that we drive.
type output interface {
	Set(active bool) error
	Close() error
}

const (
	defaultPulse = 100 * time.Millisecond
	maxPulse     = 2 * time.Second // a coil is not made for more
)

// pulsedFilter is a filter that a magnet throws one way or the other. Nobody
// but it drives the lines, and never both at once; between the pulses neither.
type pulsedFilter struct {
	in, out output
	pulse   time.Duration
	closing chan struct{} // closed by Close

	lines chan struct{} // holds one token: who has it may drive
	once  sync.Once
	err   error
}

var _ hal.IRFilter = (*pulsedFilter)(nil)

func newPulsedFilter(in, out output, pulse time.Duration) *pulsedFilter {
	f := &pulsedFilter{in: in, out: out, pulse: pulse, closing: make(chan struct{}), lines: make(chan struct{}, 1)}
	f.lines <- struct{}{}
	return f
}

// SetIRFilter implements [hal.IRFilter]; it returns when the pulse is over.
func (f *pulsedFilter) SetIRFilter(inPath bool) error {
	select {
	case <-f.lines:
		defer func() { f.lines <- struct{}{} }()
	case <-f.closing:
	}
	select {
	case <-f.closing:
		return fmt.Errorf("infrared filter: %w", hal.ErrClosed)
	default:
	}
	drive := f.out
	if inPath {
		drive = f.in
	}
	// One line that can't be switched off must keep the other from being driven.
	if err := f.rest(); err != nil {
		return err
	}
	if err := drive.Set(true); err != nil {
		return errors.Join(err, f.rest())
	}
	if !f.wait() {
		return errors.Join(fmt.Errorf("infrared filter: %w", hal.ErrClosed), f.rest())
	}
	return f.rest()
}

// wait waits for the length of a pulse, or until Close (false).
func (f *pulsedFilter) wait() bool {
	t := time.NewTimer(f.pulse)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.closing:
		return false
	}
}

// rest drives neither line; one that fails doesn't keep the other on.
func (f *pulsedFilter) rest() error { return errors.Join(f.in.Set(false), f.out.Set(false)) }

// Close ends a pulse and gives the lines back. The filter stays where it is.
func (f *pulsedFilter) Close() error {
	f.once.Do(func() {
		close(f.closing)
		<-f.lines
		f.err = errors.Join(f.rest(), f.in.Close(), f.out.Close())
	})
	return f.err
}

// levelFilter is a filter that a line holds in the path while it is active.
type levelFilter struct{ line output }

var _ hal.IRFilter = levelFilter{}

// SetIRFilter implements [hal.IRFilter].
func (f levelFilter) SetIRFilter(inPath bool) error { return f.line.Set(inPath) }

// Close gives the line back.
func (f levelFilter) Close() error { return f.line.Close() }
