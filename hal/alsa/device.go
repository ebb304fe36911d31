package alsa

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/kernel"
)

// device is a running pcm and how its one user waits for it. It has no goroutine.
type device struct {
	sound *Sound
	pcm   *pcm
	wake  *kernel.Waiter
	xruns atomic.Uint64 // how often it ran full, or empty

	closed   atomic.Bool
	closing  sync.Once
	closeErr error

	// user is held by the one that reads or writes.
	user    sync.Mutex
	dead    error
	watched context.Context
	unwatch func() bool
}

// openDevice opens and sets up a device for sound of a rate; most is how much
// its buffer may hold.
func (s *Sound) openDevice(name string, dir direction, rate int, most time.Duration) (*device, error) {
	p, rate, channels, err := s.negotiate(name, dir, deviceRates(rate))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	d := &device{sound: s, pcm: p}
	if err = p.setUp(rate, channels, int(time.Duration(rate)*most/time.Second)); err == nil {
		d.wake, err = kernel.NewWaiter()
	}
	if err == nil {
		err = s.add(d)
	}
	if err != nil {
		return nil, errors.Join(d.errorf(err), d.shut())
	}
	return d, nil
}

func (d *device) errorf(err error) error { return fmt.Errorf("%s: %w", d.pcm.dir, err) }

// enter begins a use of the device, which leave ends.
func (d *device) enter(ctx context.Context) error {
	d.user.Lock()
	if err := d.interrupted(ctx); err != nil {
		return err
	}
	if ctx != d.watched {
		d.stopWatching()
		d.watched, d.unwatch = ctx, context.AfterFunc(ctx, d.wake.Wake)
	}
	return d.dead
}

func (d *device) leave() { d.user.Unlock() }

func (d *device) stopWatching() {
	if d.unwatch != nil {
		d.unwatch()
	}
}

// interrupted tells why a use must end, if it must.
func (d *device) interrupted(ctx context.Context) error {
	if d.closed.Load() {
		return d.errorf(hal.ErrClosed)
	}
	return ctx.Err()
}

// die ends the device's use for good.
func (d *device) die(err error) error {
	if d.dead == nil {
		d.dead = d.errorf(err)
	}
	return d.dead
}

// wait blocks until the device is ready, somebody woke us up, or a time is over.
func (d *device) wait(timeout time.Duration) error {
	events := int16(unix.POLLIN)
	if d.pcm.dir == playback {
		events = unix.POLLOUT
	}
	fd := d.pcm.fd
	if timeout >= 0 {
		fd = -1 // for the time alone
	}
	_, err := d.wake.Wait(fd, events, timeout)
	return err
}

// recover makes a device that stopped ready again.
func (d *device) recover(doing string, err error) error {
	if !stopped(err) {
		return d.pcm.fail(doing, err)
	}
	d.xruns.Add(1)
	return d.pcm.prepare()
}

// Close stops the device at once; a use that is under way ends with ErrClosed.
func (d *device) Close() error {
	d.closing.Do(func() {
		d.closed.Store(true)
		d.wake.Wake()
		d.user.Lock()
		defer d.user.Unlock()
		d.stopWatching()
		d.closeErr = d.shut()
		d.sound.forget(d)
	})
	return d.closeErr
}

func (d *device) shut() error {
	_ = d.pcm.ioctl(calls.drop, nil)
	err := d.pcm.close()
	if d.wake != nil {
		err = errors.Join(err, d.wake.Close())
	}
	return err
}
