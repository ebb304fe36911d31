package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// window is how long one server is measured at a time, after settle.
const (
	window = 15 * time.Second
	settle = 2 * time.Second
)

// sample is one window of one server.
type sample struct {
	crowdResult
	cpu           time.Duration
	wall          time.Duration
	resident, top float64 // MB
	others        float64 // share of the machine that others had, %
}

// perMinute is server CPU in seconds.
func (s *sample) perMinute() float64 { return s.cpu.Seconds() / s.wall.Minutes() }

// perFrame is server CPU per viewer and frame in µs.
func (s *sample) perFrame(viewers int) float64 {
	return float64(s.cpu.Microseconds()) / (s.wall.Seconds() * filmFPS * float64(viewers))
}

// window starts a server, lets viewers in and measures it.
func (b *bench) window(ctx context.Context, s server, viewers int) (one sample, err error) {
	url, pid, err := s.start(ctx)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	crowd, err := startRole(ctx, "crowd", fmt.Sprint(viewers), url, b.film)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, crowd.end()) }()
	if err := crowd.expect("ready"); err != nil {
		return one, err
	}
	if err := sleep(ctx, settle); err != nil {
		return one, err
	}
	if err := crowd.tell("count"); err != nil {
		return one, err
	}
	if err := crowd.expect("counting"); err != nil {
		return one, err
	}
	err = one.measure(ctx, window, []int{pid, crowd.cmd.Process.Pid}, func() (res crowdResult, err error) {
		if err := crowd.tell("result"); err != nil {
			return res, err
		}
		return res, crowd.answer(&res)
	})
	if want := int(one.wall.Seconds()*filmFPS) - 2; err == nil && one.Fewest+one.Lost < want {
		err = fmt.Errorf("a viewer got %d frames in %v, want %d at least", one.Fewest, one.wall.Round(time.Millisecond), want)
	}
	return one, err
}

// measure looks at processes for a time, the server first and then its viewers
// if they have one of their own, and then at what the viewers have got.
func (s *sample) measure(ctx context.Context, span time.Duration, pids []int, got func() (crowdResult, error)) error {
	before, err := use(pids)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := sleep(ctx, span); err != nil {
		return err
	}
	after, err := use(pids)
	if err != nil {
		return err
	}
	s.wall, s.cpu = time.Since(began), after.server-before.server
	s.others = 100 * float64(after.others-before.others) / float64(s.wall) / float64(runtime.NumCPU())
	if s.crowdResult, err = got(); err != nil {
		return err
	}
	if s.resident, err = statusMB(pids[0], "VmRSS"); err != nil {
		return err
	}
	s.top, err = statusMB(pids[0], "VmHWM")
	return err
}

// used is time of processors.
type used struct{ server, others time.Duration }

func use(pids []int) (u used, err error) {
	if u.others, err = busy(); err != nil {
		return u, err
	}
	for i, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return u, err
		}
		if i == 0 {
			u.server = t
		}
		u.others -= t
	}
	return u, nil
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
