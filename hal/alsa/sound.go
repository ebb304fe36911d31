package alsa

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"iid2secure.nl/camagent/hal"
)

// Config makes a Sound. Devices are named "hw:CARD,DEVICE", where CARD is a
// number or a name of /proc/asound (which stays when numbers change) and
// ",DEVICE" may be left out, or by their nodes (/dev/snd/pcmC0D0c).
type Config struct {
	Microphone string // empty: none
	Speaker    string // empty: none
}

// Sound is microphone and speaker, as configured. Its methods may be called from
// any goroutine.
type Sound struct {
	find  finder
	parts []any

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]bool
}

var (
	_ hal.Parts = (*Sound)(nil)
	_ io.Closer = (*Sound)(nil)
)

// New opens the devices, asks what they can do, and closes them again. A device
// that is missing is [hal.ErrNotFound], one that can't be used [hal.ErrArgument],
// one in use [hal.ErrBusy]; lack of permission is [io/fs.ErrPermission].
func New(c Config) (*Sound, error) {
	return newSound(c, finder{linux{}, "/proc/asound", "/dev/snd"})
}

func newSound(c Config, f finder) (*Sound, error) {
	s := &Sound{find: f, open: map[io.Closer]bool{}}
	var errs []error
	if c.Microphone != "" {
		errs = append(errs, s.probe(c.Microphone, capture))
		s.parts = append(s.parts, microphone{s, c.Microphone})
	}
	if c.Speaker != "" {
		errs = append(errs, s.probe(c.Speaker, playback))
		s.parts = append(s.parts, speaker{s, c.Speaker})
	}
	if len(s.parts) == 0 {
		errs = append(errs, fmt.Errorf("sound: %w: neither microphone nor speaker, want one at least", hal.ErrArgument))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// probe tells why a device can't be used.
func (s *Sound) probe(name string, dir direction) error {
	p, _, _, err := s.negotiate(name, dir, deviceRates(preferred[0]))
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return p.close()
}

// negotiate opens a device and finds out what it is to do.
func (s *Sound) negotiate(name string, dir direction, rates []int) (p *pcm, rate, channels int, err error) {
	if err := s.alive(); err != nil {
		return nil, 0, 0, err
	}
	path, err := s.find.path(name, dir)
	if err != nil {
		return nil, 0, 0, err
	}
	if p, err = openPCM(s.find.sys, path, dir); err != nil {
		return nil, 0, 0, err
	}
	if rate, channels, err = p.negotiate(rates); err != nil {
		return nil, 0, 0, errors.Join(err, p.close())
	}
	return p, rate, channels, nil
}

const framesPerSecond = 50

// preferred are the rates that sound has above a board.
var preferred = [...]int{16000, 8000}

// deviceRates are those that a device may have for sound of a rate, best first.
func deviceRates(rate int) []int {
	rates := []int{rate}
	for _, r := range []int{16000, 8000, 48000, 32000, 96000, 24000, 44100, 22050, 11025} {
		if r != rate {
			rates = append(rates, r)
		}
	}
	return rates
}

// Parts implements [hal.Parts].
func (s *Sound) Parts() []any { return s.parts }

// Close stops what is open.
func (s *Sound) Close() error {
	s.mu.Lock()
	s.closed = true
	var open []io.Closer
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (s *Sound) alive() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return hal.ErrClosed
	}
	return nil
}

// add keeps what Close is to close, unless it has been there.
func (s *Sound) add(c io.Closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return hal.ErrClosed
	}
	s.open[c] = true
	return nil
}

func (s *Sound) forget(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}
