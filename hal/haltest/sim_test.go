package haltest_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

// within is what the whole suite may take on a board that runs in real time.
const within = 45 * time.Second

// M13: the simulator keeps every sentence of the contract, and all but those
// that it has no part in are looked at.
func TestM13_SimPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now *sim.Board
		r := haltest.Check(t, haltest.Subject{
			Name: "sim", Shared: true, Destructive: true,
			Open: func(context.Context) (hal.Board, []any, error) {
				now = sim.New(sim.Config{Title: "haltest"})
				return now, nil, nil
			},
			Unplug: func() error { return tell(t, now, "unplug for=2s") },
			Replug: func() error { return nil },
		})
		if r.Took > within {
			t.Errorf("it took %v, want %v at most", r.Took, within)
		}
		// The simulator loses nothing, has no raw pictures, and files and processes
		// are those of the other tests.
		may := []string{"after-loss", "grab", "no-file-left", "no-process-left"}
		for _, one := range r.Results {
			if one.Outcome == haltest.NotApplicable && !slices.Contains(may, one.Name) {
				t.Errorf("%s did not apply: %s", one.Name, one.Reason)
			}
		}
	})
}
