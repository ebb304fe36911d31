package main

import (
	"context"
	"fmt"
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
		{viewers: 50, rounds: 2},
		{viewers: 100, rounds: 3, ratio: 1.25, memory: 28},
	}
}

// underLoad measures all loads.
func (b *bench) underLoad(ctx context.Context) ([]figure, error) {
	ours, theirs, err := b.servers(ctx)
	if err != nil {
		return nil, err
	}
	var figures []figure
	var others []float64
	for _, l := range loads() {
		var a, c []sample
		for range l.rounds {
			if err := b.round(ctx, l.viewers, ours, &a, theirs, &c); err != nil {
				return figures, fmt.Errorf("%d viewers: %w", l.viewers, err)
			}
		}
		for _, s := range append(a, c...) {
			others = append(others, s.others)
		}
		figures = append(figures, l.figures(a, c)...)
	}
	return append(figures, told("share of the machine that other programs had meanwhile", median(others), "%")), nil
}

// round is a window of each.
func (b *bench) round(ctx context.Context, viewers int, ours server, a *[]sample, theirs server, c *[]sample) error {
	x, err := b.window(ctx, ours, viewers)
	if err != nil {
		return fmt.Errorf("camagent: %w", err)
	}
	y, err := b.window(ctx, theirs, viewers)
	if err != nil {
		return fmt.Errorf("the Go floor: %w", err)
	}
	*a, *c = append(*a, x), append(*c, y)
	return nil
}

// replay is one window of the other way to play a film: the board itself reads
// the file. Latency is from when a picture was due then, the timer that lets it
// out included.
func (b *bench) replay(ctx context.Context) ([]figure, error) {
	const viewers = 10
	if err := b.useFilm(ctx); err != nil {
		return nil, err
	}
	b.stack.Configure(map[string]any{"board": "pipe", "pipe": map[string]any{"sources": []any{map[string]any{"stream": "main", "path": b.film}}}})
	s, err := b.window(ctx, &camagent{b.stack, b.url}, viewers)
	if err != nil {
		return nil, err
	}
	at := fmt.Sprintf(", file replayed by the board, %d viewers", viewers)
	return []figure{
		told("server CPU a viewer and frame"+at, s.perFrame(viewers), "µs"),
		atMost("frames lost"+at, float64(s.Lost+s.Gaps), "", 0),
		told("due time to viewer's socket, p50"+at, s.P50, "ms"),
		told("due time to viewer's socket, p99"+at, s.P99, "ms"),
	}, nil
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
