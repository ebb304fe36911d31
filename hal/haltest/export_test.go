package haltest

import (
	"context"
	"time"
)

// RunHeld is Run on a machine that is late as held tells, which is asked once for
// each time that the suite listens: for a case, and for the film in its midst.
func RunHeld(ctx context.Context, s Subject, held func() time.Duration) Report {
	return run(ctx, s, func() func() time.Duration {
		by := held()
		return func() time.Duration { return by }
	})
}
