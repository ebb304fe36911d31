package peripheral

import (
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/evdev"
)

// keySource is one input device and the buttons that its keys are.
type keySource struct {
	root   string
	device string // as configured
	keys   []uint16
	names  map[uint16]string
	d      *evdev.Device // nil: to be opened
}

// add gives a key to a button.
func (s *keySource) add(key uint16, button string) error {
	if has := s.names[key]; has != "" {
		return fmt.Errorf("is key %d, which button %q has: want another one", key, has)
	}
	s.names[key] = button
	s.keys = append(s.keys, key)
	if s.d != nil {
		s.d.Want(key)
	}
	return nil
}

func (s *keySource) open() error {
	if s.d != nil {
		return nil
	}
	path, err := evdev.Find(s.root, s.device, s.keys[0])
	if err != nil {
		return err
	}
	s.d, err = evdev.Open(path, s.keys)
	return err
}

func (s *keySource) poll() (int, int16) { return s.d.FD(), pollIn }

func (s *keySource) due() (time.Time, bool) { return time.Time{}, false }

func (s *keySource) ready(time.Time) (list []hal.ButtonEvent, err error) {
	presses, err := s.d.Read()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	for _, p := range presses {
		list = append(list, hal.ButtonEvent{Button: s.names[p.Key], Pressed: p.Down, Time: p.Time})
	}
	return list, nil
}

func (s *keySource) close() error {
	if s.d == nil {
		return nil
	}
	d := s.d
	s.d = nil
	return d.Close()
}
