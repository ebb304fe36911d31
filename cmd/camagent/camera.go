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
	if err != nil && cfg.Board == config.BoardV4L2 && errors.Is(err, hal.ErrNotFound) {
		h.missing = append(h.missing, absent{"", err, func() error { return lookV4L2(cfg.V4L2) }})
		h.board, err = awaited{cfg.V4L2, err}, nil
	}
	if err != nil {
		return nil, boardError(cfg, err)
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

func lookV4L2(cfg config.V4L2) error {
	board, err := openV4L2(cfg)
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

// awaited stands in for cameras that are not there: the streams of the
// configuration, which can't be opened.
type awaited struct {
	cfg config.V4L2
	why error
}

// Info implements [hal.Board].
func (a awaited) Info() hal.Info { return hal.Info{Board: config.BoardV4L2, Model: "not there"} }

// Streams implements [hal.Board].
func (a awaited) Streams() []hal.StreamInfo {
	var list []hal.StreamInfo
	for _, name := range []string{"main", "sub"} {
		for _, s := range a.cfg.Sources {
			if s.Stream == name {
				list = append(list, hal.StreamInfo{Name: name, Default: hal.VideoConfig{Width: s.Width, Height: s.Height, FPS: s.FPS, GOP: s.GOP, Bitrate: s.Bitrate}})
			}
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
