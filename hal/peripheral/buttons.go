package peripheral

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

// source is where presses come from.
type source interface {
	// poll is what to wait for; fd -1: nothing but the time.
	poll() (fd int, events int16)
	// due is when ready is to be called at the latest; false: when poll says so.
	due() (time.Time, bool)
	// ready returns what happened, without waiting.
	ready(now time.Time) ([]hal.ButtonEvent, error)
	// open opens the device again after it failed.
	open() error
	close() error
}

// reviveEvery is how often a device that is gone is looked for while other
// buttons work.
const reviveEvery = 2 * time.Second

// buttons are all sources behind one poll(2), in the reader's goroutine.
type buttons struct {
	names   []string
	wake    *kernel.Waiter
	closing chan struct{} // closed by Close
	reader  chan struct{} // holds one token: who has it may use what is below

	places []*place
	revive time.Time // when to look for what is gone
	queue  []hal.ButtonEvent
}

// place is a source, and whether its device is there.
type place struct {
	source
	up   bool
	last time.Time // of its last event
}

var _ hal.Buttons = (*buttons)(nil)

func newButtons(names []string, sources []source) (*buttons, error) {
	w, err := kernel.NewWaiter()
	if err != nil {
		return nil, err
	}
	b := &buttons{names: names, wake: w, closing: make(chan struct{}), reader: make(chan struct{}, 1)}
	for _, s := range sources {
		b.places = append(b.places, &place{source: s, up: true})
	}
	b.reader <- struct{}{}
	return b, nil
}

// Buttons implements [hal.Buttons].
func (b *buttons) Buttons() []string { return slices.Clone(b.names) }

// NextButton implements [hal.Buttons]. A device that goes is told once, by
// ErrGone; then it is looked for while the other buttons work. Without any
// other every call looks once. A button that is held when its device comes
// counts once it was released.
func (b *buttons) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	stop := context.AfterFunc(ctx, b.wake.Wake)
	defer stop()
	select {
	case <-b.reader:
		defer func() { b.reader <- struct{}{} }()
	case <-b.closing:
	}
	for {
		switch {
		case b.closed():
			return hal.ButtonEvent{}, fmt.Errorf("buttons: %w", hal.ErrClosed)
		case ctx.Err() != nil:
			return hal.ButtonEvent{}, ctx.Err()
		case len(b.queue) > 0:
			e := b.queue[0]
			b.queue = b.queue[1:]
			return e, nil
		}
		err := b.reopen()
		if err == nil {
			err = b.wait()
		}
		if err != nil {
			return hal.ButtonEvent{}, fmt.Errorf("buttons: %w", err)
		}
	}
}

func (b *buttons) closed() bool {
	select {
	case <-b.closing:
		return true
	default:
		return false
	}
}

// reopen looks for devices that are gone; an error if none is there.
func (b *buttons) reopen() error {
	now := time.Now()
	var errs []error
	some := false
	for _, p := range b.places {
		if !p.up && !now.Before(b.revive) {
			err := p.open()
			p.up = err == nil
			errs = append(errs, err)
		}
		some = some || p.up
	}
	if some {
		if len(errs) > 0 {
			b.revive = now.Add(reviveEvery)
		}
		return nil
	}
	err := errors.Join(errs...)
	if !errors.Is(err, hal.ErrGone) {
		err = fmt.Errorf("%w: %w", hal.ErrGone, err)
	}
	return err
}

// wait waits until something happened, and queues it.
func (b *buttons) wait() error {
	set := make([]unix.PollFd, len(b.places))
	for i, p := range b.places {
		fd, events := -1, int16(0)
		if p.up {
			fd, events = p.poll()
		}
		set[i] = unix.PollFd{Fd: int32(fd), Events: events}
	}
	if err := b.wake.Poll(set, b.timeout()); err != nil {
		return err
	}
	return b.collect(set)
}

// collect asks the sources that have something, and queues it by time.
func (b *buttons) collect(set []unix.PollFd) error {
	now := time.Now()
	var errs []error
	for i, p := range b.places {
		if !p.up {
			continue
		}
		at, timed := p.due()
		if set[i].Revents == 0 && (!timed || now.Before(at)) {
			continue
		}
		events, err := p.ready(now)
		if err == nil && len(events) == 0 && broken(set[i].Revents) {
			err = errors.Join(hal.ErrGone, p.close()) // or poll would never wait again
		}
		if err != nil {
			p.up, b.revive = false, time.Time{}
			errs = append(errs, err)
		}
		p.inOrder(events)
		b.queue = append(b.queue, events...)
	}
	slices.SortStableFunc(b.queue, func(x, y hal.ButtonEvent) int { return x.Time.Compare(y.Time) })
	return errors.Join(errs...)
}

// inOrder sees to it that no release stands before its press: the kernel's
// stamps are mapped to our clock one by one, each with an error of its own.
func (p *place) inOrder(events []hal.ButtonEvent) {
	for i := range events {
		if events[i].Time.Before(p.last) {
			events[i].Time = p.last
		}
		p.last = events[i].Time
	}
}

// broken tells that a device ended; POLLERR goes with POLLPRI at lines of sysfs.
func broken(revents int16) bool {
	return revents&(unix.POLLHUP|unix.POLLNVAL) != 0 || revents == unix.POLLERR
}

// timeout is how long poll may wait; negative: for ever.
func (b *buttons) timeout() time.Duration {
	var first time.Time
	for _, p := range b.places {
		at, ok := b.revive, !p.up
		if p.up {
			at, ok = p.due()
		}
		if ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	if first.IsZero() {
		return -1
	}
	return max(0, time.Until(first))
}

// Close ends a NextButton in flight and closes the devices.
func (b *buttons) Close() error {
	close(b.closing) // Set.Close calls this once
	b.wake.Wake()
	<-b.reader
	var errs []error
	for _, p := range b.places {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, b.wake.Close())...)
}
