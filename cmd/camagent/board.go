package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/alsa"
	"iid2secure.nl/camagent/hal/onboard"
	"iid2secure.nl/camagent/hal/peripheral"
	"iid2secure.nl/camagent/hal/pipe"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/hal/v4l2"
)

// openVideo makes the board that the configuration names, without its parts.
func openVideo(ctx context.Context, cfg config.Config, log *zap.Logger) (hal.Board, error) {
	switch cfg.Board {
	case config.BoardSim:
		return openSim(cfg)
	case config.BoardPipe:
		if len(cfg.Pipe.Sidecar) > 0 {
			return pipe.NewFramed(ctx, pipe.FramedConfig{Command: cfg.Pipe.Sidecar, Log: log.Named("sidecar")})
		}
		return openPipe(cfg.Pipe, log)
	case config.BoardV4L2:
		return openV4L2(cfg.V4L2)
	case config.BoardOnboard:
		return openOnboard(cfg.Onboard)
	}
	return nil, errors.New("there is no such board")
}

func openSim(cfg config.Config) (hal.Board, error) {
	sc := sim.Config{Title: cfg.Sim.Title, Card: cfg.Card.Dir, DisplayFile: cfg.Sim.Display}
	if cfg.Sim.Scenario != "" {
		var err error
		if sc.Scenario, err = sim.LoadScenario(cfg.Sim.Scenario); err != nil {
			return nil, err
		}
	}
	return sim.New(sc), nil
}

func openPipe(cfg config.Pipe, log *zap.Logger) (hal.Board, error) {
	pc := pipe.Config{Log: log.Named("pipe")}
	for _, s := range cfg.Sources {
		pc.Sources = append(pc.Sources, pipe.Source{Stream: s.Stream, Command: s.Command, Path: s.Path,
			Width: s.Width, Height: s.Height, FPS: s.FPS, GOP: s.GOP, Bitrate: s.Bitrate,
			FPSRange: hal.Range(s.FPSRange), GOPRange: hal.Range(s.GOPRange), BitrateRange: hal.Range(s.BitrateRange),
			EarlyCut: s.EarlyCut})
	}
	return pipe.New(pc)
}

func openV4L2(cfg config.V4L2) (hal.Board, error) {
	vc := v4l2.Config{Still: cfg.Still}
	for _, s := range cfg.Sources {
		vc.Sources = append(vc.Sources, v4l2.Source(s))
	}
	return v4l2.New(vc)
}

func openOnboard(cfg config.Onboard) (hal.Board, error) {
	oc := onboard.Config{Snapshot: cfg.Snapshot, Sound: cfg.Sound}
	for i, s := range cfg.Sources {
		password, err := readPassword(s.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("onboard.sources[%d].password_file: %w", i, err)
		}
		oc.Sources = append(oc.Sources, onboard.Source{Stream: s.Stream, URL: s.URL, User: s.User, Password: password})
	}
	return onboard.New(oc)
}

// readPassword is the first line of a file; "" without one.
func readPassword(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	if st, err := os.Stat(file); err == nil && !st.Mode().IsRegular() { // a FIFO would be waited for
		return "", fmt.Errorf("%s: is no regular file, want one with the password on its first line", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimRight(line, "\r"), nil
}

// openSound opens the sound devices, if there are any in the configuration.
func openSound(cfg config.Sound) ([]any, error) {
	if cfg == (config.Sound{}) {
		return nil, nil
	}
	sound, err := alsa.New(alsa.Config(cfg))
	if err != nil {
		return nil, fmt.Errorf("sound: %w", err)
	}
	return []any{sound}, nil
}

// openPeripherals opens what is wired to the processor, if anything is.
func openPeripherals(cfg config.Peripherals) ([]any, error) {
	pc, wired := peripherals(cfg)
	if !wired {
		return nil, nil
	}
	set, err := peripheral.New(pc)
	if err != nil {
		return nil, err // names its fields itself
	}
	return []any{set}, nil
}

func closeParts(parts []any) {
	for _, p := range parts {
		if c, ok := p.(io.Closer); ok {
			c.Close()
		}
	}
}

// peripherals tells what is wired, and whether anything is.
func peripherals(p config.Peripherals) (pc peripheral.Config, wired bool) {
	if p.IRFilter != (config.IRFilter{}) {
		f := peripheral.IRFilter(p.IRFilter)
		pc.IRFilter = &f
	}
	if p.LightSensor != (config.LightSensor{}) {
		s := peripheral.LightSensor(p.LightSensor)
		pc.LightSensor = &s
	}
	if p.Siren != (config.Siren{}) {
		s := peripheral.Siren(p.Siren)
		pc.Siren = &s
	}
	for _, l := range p.Lights {
		pc.Lights = append(pc.Lights, peripheral.Light(l))
	}
	for _, b := range p.Buttons {
		pc.Buttons = append(pc.Buttons, peripheral.Button(b))
	}
	for _, l := range p.LEDs {
		pc.LEDs = append(pc.LEDs, peripheral.LED(l))
	}
	for _, s := range p.Sensors {
		pc.Sensors = append(pc.Sensors, peripheral.Sensor(s))
	}
	return pc, pc.IRFilter != nil || pc.LightSensor != nil || pc.Siren != nil ||
		len(pc.Lights)+len(pc.Buttons)+len(pc.LEDs)+len(pc.Sensors) > 0
}
