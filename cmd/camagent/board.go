package main

import (
	"fmt"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/pipe"
	"iid2secure.nl/camagent/hal/sim"
)

// openBoard makes the board that the configuration names. A board that can't be
// opened is an error, never a change to another.
func openBoard(cfg config.Config, log *zap.Logger) (*hal.Camera, error) {
	switch cfg.Board {
	case "sim":
		return hal.NewCamera(sim.New(sim.Config{Title: cfg.Sim.Title})), nil
	case "pipe":
		pc := pipe.Config{Log: log.Named("pipe")}
		for _, s := range cfg.Pipe.Sources {
			pc.Sources = append(pc.Sources, pipe.Source{Stream: s.Stream, Command: s.Command, Path: s.Path, FPS: s.FPS, EarlyCut: s.EarlyCut})
		}
		board, err := pipe.New(pc)
		if err != nil {
			return nil, err
		}
		return hal.NewCamera(board), nil
	}
	return nil, fmt.Errorf("board %q: no such board", cfg.Board)
}
