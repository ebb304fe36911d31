package example

import (
	"context"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
)

func TestM1_Conformance(t *testing.T) {
	daemon := startDaemon(t)
	haltest.Check(t, haltest.Subject{
		Name: "example",
		Open: func(context.Context) (hal.Board, []any, error) {
			return New(daemon.socket), nil, nil
		},
		Unplug: daemon.unplug,
		Replug: daemon.replug,
	})
}
