package alsa

import (
	"errors"

	"iid2secure.nl/camagent/hal"
)

// Config makes a Sound. Devices are named "hw:CARD,DEVICE", where CARD is a
// number or a name of /proc/asound (which stays when numbers change) and
// ",DEVICE" may be left out, or by their nodes (/dev/snd/pcmC0D0c).
type Config struct {
	Microphone string // empty: none
	Speaker    string // empty: none
}

// Sound is microphone and speaker, as configured.
type Sound struct{}

var _ hal.Parts = (*Sound)(nil)

// New opens the devices, asks what they can do, and closes them again.
func New(c Config) (*Sound, error) { return nil, errors.ErrUnsupported }

// Parts implements [hal.Parts].
func (s *Sound) Parts() []any { return nil }

// Close stops what is open.
func (s *Sound) Close() error { return nil }
