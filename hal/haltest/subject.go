package haltest

import (
	"context"

	"iid2secure.nl/camagent/hal"
)

// Subject is what is tested: a way to open a board, and what is allowed with it.
type Subject struct {
	// Name is what the report calls it.
	Name string
	// Open opens the board and its parts anew, several times in a run and never
	// twice at once. Run closes the board, and those of parts that are an
	// io.Closer, in the order of [hal.Camera.Close]. Goroutines that Open starts
	// count as the board's: a server or a child that stands for the device is to be
	// started before Run.
	Open func(ctx context.Context) (hal.Board, []any, error)

	// Unplug takes the device away while it is in use, Replug brings it back.
	// Optional; without them the case for it is not applicable.
	Unplug, Replug func() error

	// Quiet leaves out what can be heard: siren and speaker.
	Quiet bool
	// Destructive allows to write firmware into a slot that is not active.
	Destructive bool
	// Shared tells that others in this process open files and start programs
	// meanwhile, so that what is left can't be counted: a test that runs parallel
	// to others sets it.
	Shared bool

	// Only, if not empty, names the cases to run.
	Only []string

	// Starting and Done, if set, are called before and after each case, by the
	// goroutine of Run.
	Starting func(Case)
	Done     func(Result)
}
