package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
)

// hardware is what a camera runs on.
type hardware struct {
	board   hal.Board
	parts   []any
	missing []absent
}

// absent is a device that is configured but not there, as a USB camera that
// comes up late or was pulled.
type absent struct {
	code string // of the condition while it is missing; "": the board tells it
	err  error
	look func() error // nil: it has come
}

// openHardware opens the board that the configuration names, with its parts.
// What can't be opened is an error, never a change to another board; but a USB
// camera or a sound card that is not there may come later: it is stood in for,
// or left out, and listed as missing. The caller closes board and parts.
func openHardware(ctx context.Context, cfg config.Config, log *zap.Logger) (*hardware, error) {
	h := &hardware{}
	var err error
	h.board, err = openVideo(ctx, cfg, log)
	if err != nil && mayCome(cfg, err) {
		h.missing = append(h.missing, absent{"", err, func() error { return lookAgain(ctx, cfg, log) }})
		h.board, err = awaited{cfg, err}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", cfg.Board, err)
	}
	sound, err := openSound(cfg.Sound)
	if errors.Is(err, hal.ErrNotFound) {
		h.missing = append(h.missing, absent{"sound", err, func() error { return lookSound(cfg.Sound) }})
		sound, err = nil, nil
	}
	h.parts = sound
	if err == nil {
		var wired []any
		wired, err = openPeripherals(cfg.Peripherals)
		h.parts = append(h.parts, wired...)
	}
	if err != nil {
		closeParts(h.parts)
		return nil, errors.Join(err, h.board.Close())
	}
	return h, nil
}

// mayCome tells a device that is not there from a wrong configuration: a video
// device that may be plugged in, a sidecar that ends because its sensor is not
// ready.
func mayCome(cfg config.Config, err error) bool {
	return cfg.Board == config.BoardV4L2 && errors.Is(err, hal.ErrNotFound) ||
		cfg.Board == config.BoardPipe && len(cfg.Pipe.Sidecar) > 0 && errors.Is(err, hal.ErrGone)
}

func lookAgain(ctx context.Context, cfg config.Config, log *zap.Logger) error {
	board, err := openVideo(ctx, cfg, log)
	if err != nil {
		return err
	}
	return board.Close()
}

func lookSound(cfg config.Sound) error {
	parts, err := openSound(cfg)
	closeParts(parts)
	return err
}

// lookEvery is how often a missing device is looked for.
const lookEvery = 3 * time.Second

// errCame ends a run so that the next one has the device that was missing.
var errCame = errors.New("a device has come")

// await returns errCame when one of the missing devices is there.
func await(ctx context.Context, missing []absent) error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for len(missing) > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, m := range missing {
			if m.look() == nil {
				return errCame
			}
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// awaited stands in for a board that is not there: streams, as far as the
// configuration tells them, that can't be opened.
type awaited struct {
	cfg config.Config
	why error
}

// Info implements [hal.Board].
func (a awaited) Info() hal.Info { return hal.Info{Board: a.cfg.Board, Model: "not there"} }

// Streams implements [hal.Board].
func (a awaited) Streams() []hal.StreamInfo {
	list := []hal.StreamInfo{{Name: "main"}}
	if a.cfg.Board == config.BoardPipe { // which a sidecar has, it has not said
		return append(list, hal.StreamInfo{Name: "sub"})
	}
	for _, s := range a.cfg.V4L2.Sources {
		info := hal.StreamInfo{Name: s.Stream, Default: hal.VideoConfig{Width: s.Width, Height: s.Height, FPS: s.FPS, GOP: s.GOP, Bitrate: s.Bitrate}}
		if s.Stream == "main" {
			list[0] = info
		} else {
			list = append(list, info)
		}
	}
	return list
}

// OpenVideo implements [hal.Board].
func (a awaited) OpenVideo(context.Context, string, hal.VideoConfig) (hal.VideoStream, error) {
	return nil, fmt.Errorf("waiting for the camera: %w", a.why)
}

// Close implements [hal.Board].
func (a awaited) Close() error { return nil }
