// Package clock says what time it is on a device whose clock may be wrong: not
// set at boot (1970), stepped by a day, or lying. Certificate checks stay on all
// the while, so this package gives them a time that is never before what is known
// for sure, and never lets a lying clock become such knowledge (S9, M10).
//
// Three things are kept apart:
//
//   - the floor: what the time is not before, whatever clocks say. It is the later
//     of the program's build and of the begin of any server certificate that passed
//     its checks, and goes on with the time that passes. It can't lie.
//   - the known time: what the clock said while the kernel had it synchronised and
//     a server's certificate that passed covered it, and what passed since, kept never
//     past that certificate's end. It is believed while the clock is not synchronised.
//   - the wall-clock, believed if it is synchronised and not before the floor.
//
// Floor and known time are kept in the state folder. It neither sets the clock
// nor asks for the time: that is the system's, by NTP.
package clock

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

// Kernel is what the operating system tells of time.
type Kernel interface {
	// Wall is the wall-clock.
	Wall() time.Time
	// Synced tells whether the wall-clock is kept by a time source, and how far off
	// it may be at most.
	Synced() (yes bool, uncertainty time.Duration)
	// Uptime is the time since boot, suspends included; Asleep is how much of it the
	// device was suspended.
	Uptime() time.Duration
	Asleep() time.Duration
	// BootID is another one after each boot; empty if it is not known.
	BootID() string
}

// Clock is the device's one clock. All methods may be called from any goroutine.
type Clock struct {
	kernel Kernel
	path   string
	boot   string
	opened time.Time // with its monotonic reading
	uptime time.Duration

	mu    sync.Mutex
	low   anchor            // the floor
	known anchor            // zero: none
	until time.Time         // the known time is not kept past it
	seen  *x509.Certificate // the last one of a server that passed; nil: none yet
	trial anchor            // the time by which certificates are judged until one passes, or it is shown wrong; zero: none
	calm  time.Time         // no trial before it
	doubt error             // what the last one that did not pass says of the clock
	naps  []nap
	last  time.Time     // when naps were looked for
	slept time.Duration // since boot, by then
}

// kept is the file.
type kept struct {
	V     int       `json:"v"` // 1
	Floor time.Time `json:"floor"`
	Known time.Time `json:"known,omitzero"`
	Until time.Time `json:"until,omitzero"` // end of the certificate that Known was seen with
}

// anchor ties a time to a monotonic reading, and goes on from there.
type anchor struct{ wall, mono time.Time }

func (a anchor) at(now time.Time) time.Time {
	if a.wall.IsZero() {
		return a.wall
	}
	return a.wall.Add(now.Sub(a.mono))
}

const fileName = "clock.json"

// Open reads what is kept in the folder dir; build is when the program was built.
// A file that is damaged is as none: it must not keep a camera from starting.
func Open(dir string, build time.Time) (*Clock, error) { return OpenWith(dir, build, System{}) }

// OpenWith is Open with another kernel, for tests.
func OpenWith(dir string, build time.Time, k Kernel) (*Clock, error) {
	now := time.Now()
	c := &Clock{kernel: k, path: filepath.Join(dir, fileName), boot: bootID(k.BootID()),
		opened: now, last: now, uptime: k.Uptime(), slept: k.Asleep()}
	var file kept
	if _, err := durable.ReadJSON(c.path, &file); err != nil && !damaged(err) {
		return nil, fmt.Errorf("clock: %w", err)
	} else if err != nil || file.V != 1 {
		file = kept{}
	}
	c.low = anchor{later(build, file.Floor).UTC().Round(0), now}
	if file.Known.After(c.low.wall) {
		c.known, c.until = anchor{file.Known.UTC(), now}, file.Until.UTC()
	}
	return c, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Now is the time, in UTC, without a monotonic reading; never before the floor.
// It goes back when the clock is set back.
func (c *Clock) Now() time.Time {
	now, _, _ := c.read()
	return now
}

// read tells the time, whether it is that of a synchronised clock, and how far off
// that may be.
func (c *Clock) read() (t time.Time, synced bool, uncertainty time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readAt(time.Now())
}

func (c *Clock) readAt(now time.Time) (t time.Time, synced bool, uncertainty time.Duration) {
	c.look(now)
	wall, low := c.kernel.Wall().UTC().Round(0), c.low.at(now)
	if synced, uncertainty = c.kernel.Synced(); synced && !wall.Before(low) {
		return wall, true, uncertainty
	}
	return later(later(wall, low), c.known.at(now)), false, 0
}

// At is what the clock, as it is set now, says of a moment that has a monotonic
// reading, such as a frame's.
func (c *Clock) At(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	wall, _, _ := c.readAt(now)
	return wall.Add(-c.since(t, now))
}

// Trust tells how far the clock can be trusted now; an uncertainty of 0 without
// sync means that it is not known.
func (c *Clock) Trust() cloud.Clock {
	_, synced, uncertainty := c.read()
	return cloud.Clock{Synced: synced, UncertaintyMS: uncertainty.Milliseconds()}
}

// Plausible tells whether nothing that is known speaks against the wall-clock: it
// may be right, synchronised or not.
func (c *Clock) Plausible() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	t, synced, _ := c.readAt(now)
	return synced || !c.kernel.Wall().Add(time.Minute).Before(t)
}

// Uptime is how long the device had been up at a moment that has a monotonic
// reading; suspends count.
func (c *Clock) Uptime(t time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look(time.Now())
	if t.Before(c.opened) {
		return max(0, c.uptime-c.opened.Sub(t))
	}
	return c.uptime + c.since(c.opened, t)
}

// Boot names this boot of the device and this start of the program, as clips do:
// see SameBoot.
func (c *Clock) Boot() string { return c.boot }
