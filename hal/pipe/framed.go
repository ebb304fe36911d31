package pipe

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// FramedConfig makes the board of a sidecar: one program, a camera vendor's as
// a rule, that serves the whole camera over its standard input and output by
// the protocol of docs/sidecar.md.
type FramedConfig struct {
	// Command is the program and its arguments, without a shell. The program is
	// looked up in PATH.
	Command []string
	Log     *zap.Logger // nil: silent
}

// NewFramed starts the sidecar and waits for its hello, 10 s at most: what the
// board and its parts can do is what the hello says. If the sidecar ends or
// hangs, everything that is open ends with [hal.ErrGone], and the next call that
// needs it starts it anew, at most once a second.
func NewFramed(ctx context.Context, c FramedConfig) (hal.Board, error) {
	return nil, errors.New("sidecar board: not there yet")
}
