package peripheral

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
)

const (
	pollIn = unix.POLLIN

	defaultDebounce = 20 * time.Millisecond
	// samplePeriod is how often a line without interrupts is looked at.
	samplePeriod = 20 * time.Millisecond
)

// lineSource is one button on a GPIO line.
type lineSource struct {
	name      string
	system    gpio.System
	spec      gpio.Spec
	activeLow bool
	still     time.Duration
	debounce  debouncer
	line      *gpio.Line // nil: to be opened
	sampled   time.Time  // last, of a line without interrupts
	level     bool       // then
}

func (s *lineSource) open() error {
	if s.line != nil {
		return nil
	}
	l, err := s.system.Edges(s.spec, s.activeLow, s.still)
	if err != nil {
		return err
	}
	level, err := l.Get()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.line, s.level, s.sampled = l, level, time.Now()
	s.debounce = debouncer{still: s.still, state: level}
	return nil
}

func (s *lineSource) poll() (int, int16) { return s.line.Poll() }

func (s *lineSource) due() (time.Time, bool) {
	if fd, _ := s.line.Poll(); fd < 0 {
		return s.sampled.Add(samplePeriod), true
	}
	return s.debounce.due()
}

func (s *lineSource) ready(now time.Time) ([]hal.ButtonEvent, error) {
	list, err := s.events(now)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return list, nil
}

func (s *lineSource) events(now time.Time) (list []hal.ButtonEvent, err error) {
	edges, err := s.edges(now)
	if err != nil {
		return nil, err
	}
	if s.line.Debounced() {
		return s.told(edges), nil
	}
	for _, e := range edges {
		s.debounce.edge(e.Time)
	}
	level, err := s.line.Get()
	if err != nil {
		return nil, err
	}
	if _, pending := s.debounce.due(); !pending && level != s.debounce.state {
		s.debounce.edge(now) // one that was lost
	}
	if s.debounce.settle(level, now) {
		list = append(list, hal.ButtonEvent{Button: s.name, Pressed: level, Time: s.debounce.first})
	}
	return list, nil
}

// told makes events of edges that the kernel debounced.
func (s *lineSource) told(edges []gpio.Edge) (list []hal.ButtonEvent) {
	for _, e := range edges {
		if e.Active != s.debounce.state {
			s.debounce.state = e.Active
			list = append(list, hal.ButtonEvent{Button: s.name, Pressed: e.Active, Time: e.Time})
		}
	}
	return list
}

func (s *lineSource) edges(now time.Time) ([]gpio.Edge, error) {
	if fd, _ := s.line.Poll(); fd >= 0 {
		return s.line.Read()
	}
	s.sampled = now
	level, err := s.line.Get()
	if err != nil || level == s.level {
		return nil, err
	}
	s.level = level
	return []gpio.Edge{{Active: level, Time: now}}, nil
}

func (s *lineSource) close() error {
	if s.line == nil {
		return nil
	}
	l := s.line
	s.line = nil
	return l.Close()
}
