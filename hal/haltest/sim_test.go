package haltest_test

import (
	"context"
	"testing"
	"testing/synctest"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

// M13: the simulator keeps every sentence of the contract.
func TestM13_SimPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		haltest.Check(t, haltest.Subject{
			Name: "sim", Shared: true, Destructive: true,
			Open: func(context.Context) (hal.Board, []any, error) {
				return sim.New(sim.Config{Title: "haltest"}), nil, nil
			},
			Done: func(r haltest.Result) { t.Logf("%s %s %v", r.Name, r.Outcome, r.Took) },
		})
	})
}
