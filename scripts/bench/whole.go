package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"iid2secure.nl/camagent/agent/command"
)

// How long and how often a camera that does everything is measured.
const (
	wholeTime = 25 * time.Second
	starts    = 7
)

// whole measures cameras that record and upload besides serving one viewer: the
// simulated one, and one whose pictures come from outside.
func (b *bench) whole(ctx context.Context) ([]figure, error) {
	b.stack.Configure(nil)
	if err := b.set(ctx, "recording=continuous", func(st command.Status) bool { return st.Recording.Active }); err != nil {
		return nil, err
	}
	figures, err := b.simulated(ctx)
	if err != nil {
		return figures, err
	}
	began, err := b.startTimes(ctx)
	figures = append(figures, began...)
	if err != nil {
		return figures, err
	}
	film, err := b.piped(ctx)
	return append(figures, film...), err
}

func (b *bench) simulated(ctx context.Context) (figures []figure, err error) {
	ours := camagent{b.stack, b.url}
	s, err := b.one(ctx, &ours, nil)
	if err != nil {
		return nil, err
	}
	return []figure{
		told("frame from the simulated board to RTSP socket, p50", s.P50, "ms"),
		atMost("frame from the simulated board to RTSP socket, p99", s.P99, "ms", 5),
		atMost("resident memory, simulated board, one viewer, recording, uploading", s.resident, "MB", 20),
		told("its peak since start", s.top, "MB"),
		told("CPU, simulated encoders included", 100*s.cpu.Seconds()/s.wall.Seconds(), "% of a core"),
	}, nil
}

// piped plays the film: a camera that holds no pictures of its own in memory.
func (b *bench) piped(ctx context.Context) ([]figure, error) {
	camera, err := filmCamera(b.film)
	if err != nil {
		return nil, err
	}
	b.stack.Configure(camera)
	f, err := loadFilm(b.film)
	if err != nil {
		return nil, err
	}
	s, err := b.one(ctx, &camagent{b.stack, b.url}, f)
	if err != nil {
		return nil, err
	}
	return []figure{
		atMost("resident memory, film, one viewer, recording, uploading", s.resident, "MB", 20),
		told("its peak since start ", s.top, "MB"),
	}, nil
}

// one is a server with one viewer, which is in this process.
func (b *bench) one(ctx context.Context, s server, f *film) (one sample, err error) {
	url, pid, err := s.start(ctx)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c := crowd{errs: make(chan error, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.add(ctx, url, f); err != nil {
		return one, err
	}
	if err := sleep(ctx, settle); err != nil {
		return one, err
	}
	c.restart()
	return one, one.measure(ctx, wholeTime, []int{pid}, func() (crowdResult, error) { return c.result(f.length()) })
}

// startTimes starts the camera anew and waits as a viewer that asks all the time.
func (b *bench) startTimes(ctx context.Context) ([]figure, error) {
	var ms []float64
	for range starts {
		began := time.Now()
		if err := b.stack.StartCamera(); err != nil {
			return nil, err
		}
		if err := firstKeyFrame(ctx, b.url); err != nil {
			return nil, err
		}
		ms = append(ms, float64(time.Since(began).Microseconds())/1000)
		if err := b.stack.Camera.Stop(); err != nil {
			return nil, err
		}
	}
	return []figure{atMost(fmt.Sprintf("start to first key frame at a waiting viewer, median of %d", starts), median(ms), "ms", 300)}, nil
}

// size is that of the program on a camera's flash, as `make cross` has built it.
func (b *bench) size(context.Context) ([]figure, error) {
	st, err := os.Stat(filepath.Join(b.bin, "linux-armv7", "camagent"))
	if err != nil {
		return nil, err
	}
	return []figure{atMost("armv7 binary of camagent", float64(st.Size())/1e6, "MB", 13)}, nil
}
