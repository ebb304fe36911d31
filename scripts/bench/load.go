package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// window is how long one server is measured at a time, after settle.
const (
	window = 15 * time.Second
	settle = 2 * time.Second
)

// load is one number of viewers. The two servers are measured in turn, so that
// what else happens on the machine hits both.
type load struct {
	viewers, rounds int
	// Limits: of the ratio to the floor, and in MB; 0: none.
	ratio, memory float64
	// and of the latency in ms.
	p50, p99 float64
}

func loads() []load {
	return []load{
		{viewers: 1, rounds: 2, memory: 16},
		{viewers: 10, rounds: 3, ratio: 1.25, memory: 18, p50: 0.45, p99: 1.5},
		{viewers: 50, rounds: 1},
		{viewers: 100, rounds: 3, ratio: 1.25, memory: 28},
	}
}

// sample is one window of one server.
type sample struct {
	crowdResult
	cpu           time.Duration
	wall          time.Duration
	resident, top float64 // MB
}

// perMinute is server CPU in seconds.
func (s *sample) perMinute() float64 { return s.cpu.Seconds() / s.wall.Minutes() }

// perFrame is server CPU per viewer and frame in µs.
func (s *sample) perFrame(viewers int) float64 {
	return float64(s.cpu.Microseconds()) / (s.wall.Seconds() * filmFPS * float64(viewers))
}

// underLoad measures all loads.
func (b *bench) underLoad(ctx context.Context) ([]figure, error) {
	ours, theirs, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, l := range loads() {
		var a, c []sample
		for range l.rounds {
			for _, s := range []struct {
				server
				to *[]sample
			}{{ours, &a}, {theirs, &c}} {
				one, err := b.window(ctx, s.server, l.viewers)
				if err != nil {
					return figures, fmt.Errorf("%d viewers: %w", l.viewers, err)
				}
				*s.to = append(*s.to, one)
			}
		}
		figures = append(figures, l.figures(a, c)...)
	}
	return figures, nil
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
	return one, one.measure(ctx, pid, window, func() (res crowdResult, err error) {
		if err := crowd.tell("result"); err != nil {
			return res, err
		}
		return res, crowd.answer(&res)
	})
}

// measure looks at a process for a time, and then at what its viewers have got.
func (s *sample) measure(ctx context.Context, pid int, span time.Duration, got func() (crowdResult, error)) error {
	before, err := cpuTime(pid)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := sleep(ctx, span); err != nil {
		return err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return err
	}
	s.cpu, s.wall = after-before, time.Since(began)
	if s.crowdResult, err = got(); err != nil {
		return err
	}
	if s.resident, err = statusMB(pid, "VmRSS"); err != nil {
		return err
	}
	if s.top, err = statusMB(pid, "VmHWM"); err != nil {
		return err
	}
	if want := int(s.wall.Seconds()*filmFPS) - 2; s.Fewest+s.Lost < want {
		return fmt.Errorf("a viewer got %d frames in %v, want %d at least", s.Fewest, s.wall.Round(time.Millisecond), want)
	}
	return nil
}

// figures of one load: ours, by medians, against the floor.
func (l *load) figures(ours, floor []sample) []figure {
	at := func(what string) string { return fmt.Sprintf("%s, %d viewers", what, l.viewers) }
	of := func(list []sample, f func(*sample) float64) float64 {
		var v []float64
		for i := range list {
			v = append(v, f(&list[i]))
		}
		return median(v)
	}
	both := func(name, unit string, limit, ratio float64, f func(*sample) float64) figure {
		fig := told(at(name), of(ours, f), unit)
		if limit > 0 {
			fig = atMost(at(name), of(ours, f), unit, limit)
		}
		return fig.against(of(floor, f), ratio)
	}
	lost := func(list []sample) (n float64) {
		for i := range list {
			n += float64(list[i].Lost + list[i].Gaps)
		}
		return n
	}
	return []figure{
		both("server CPU a minute", "s", 0, 0, (*sample).perMinute),
		both("server CPU a viewer and frame", "µs", 0, l.ratio, func(s *sample) float64 { return s.perFrame(l.viewers) }),
		atMost(at("frames lost"), lost(ours), "", 0).against(lost(floor), 0),
		both("board to viewer's socket, p50", "ms", l.p50, 0, func(s *sample) float64 { return s.P50 }),
		both("board to viewer's socket, p99", "ms", l.p99, 0, func(s *sample) float64 { return s.P99 }),
		both("RTP packets a frame", "", 0, 0, func(s *sample) float64 { return float64(s.Packets) / float64(max(s.Frames, 1)) }),
		both("resident memory", "MB", l.memory, 0, func(s *sample) float64 { return s.resident }),
		both("its peak", "MB", 0, 0, func(s *sample) float64 { return s.top }),
	}
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
