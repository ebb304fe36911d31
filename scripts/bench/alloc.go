package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/pipe"
)

// inProcessVisits come and go while goroutines can be counted.
const inProcessVisits = 2000

// inProcess runs the same camera in this process, with its viewers outside, and
// counts what only the runtime knows.
func (b *bench) inProcess(ctx context.Context) (figures []figure, err error) {
	if err := b.useFilm(ctx); err != nil {
		return nil, err
	}
	stop, err := b.runAgent(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := firstKeyFrame(ctx, b.url); err != nil {
		return nil, err
	}
	figures, err = b.allocations(ctx)
	if err != nil {
		return figures, err
	}
	joins, err := b.goroutines(ctx)
	return append(figures, joins...), err
}

// runAgent is camagent run, but for the flags and the log.
func (b *bench) runAgent(ctx context.Context) (stop func() error, err error) {
	cfg, err := config.Load(b.stack.CameraConfig(), nil, nil)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	board, err := pipe.NewFramed(ctx, pipe.FramedConfig{Command: []string{self, "camera", b.film}})
	if err != nil {
		return nil, err
	}
	a, err := agent.New(cfg, hal.NewCamera(board), zap.NewNop())
	if err != nil {
		return nil, errors.Join(err, board.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, nil) }()
	return func() error {
		cancel()
		return errors.Join(<-ended, board.Close())
	}, nil
}

func (b *bench) allocations(ctx context.Context) (figures []figure, err error) {
	crowd, err := startRole(ctx, "crowd", "1", b.url, b.film)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, crowd.end()) }()
	if err := crowd.expect("ready"); err != nil {
		return nil, err
	}
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	if err := sleep(ctx, window); err != nil {
		return nil, err
	}
	runtime.ReadMemStats(&after)
	frames := time.Since(began).Seconds() * filmFPS
	return []figure{
		atMost("allocations a frame from the board to one viewer, everything that runs besides included", float64(after.Mallocs-before.Mallocs)/frames, "", 3),
		told("bytes allocated a frame, those that hold it included", float64(after.TotalAlloc-before.TotalAlloc)/frames/1000, "kB"),
	}, nil
}

func (b *bench) goroutines(ctx context.Context) ([]figure, error) {
	count := func() (float64, error) {
		err := sleep(ctx, 3*time.Second)
		return float64(runtime.NumGoroutine()), err
	}
	if err := b.visit(ctx, b.url, churnAtOnce); err != nil {
		return nil, err
	}
	before, err := count()
	if err != nil {
		return nil, err
	}
	if err := b.visit(ctx, b.url, inProcessVisits); err != nil {
		return nil, err
	}
	after, err := count()
	return []figure{atMost(fmt.Sprintf("growth of goroutines by %d joins and leaves", inProcessVisits), after-before, "", 0)}, err
}
