package peripheral

import (
	"errors"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
)

// siren sounds while its line is active.
type siren struct{ line *gpio.Line }

var _ hal.Siren = siren{}

// SetSiren implements [hal.Siren].
func (s siren) SetSiren(on bool) error { return s.line.Set(on) }

// Siren implements [hal.Siren]: what the line is driven to.
func (s siren) Siren() (bool, error) { return s.line.Get() }

// Close silences it.
func (s siren) Close() error { return errors.Join(s.line.Set(false), s.line.Close()) }
