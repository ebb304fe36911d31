package haltest

import "context"

// Run goes through the cases in order, each with a time limit. A board that
// panics or hangs fails the case; the next one gets it anew. Run returns early
// only when ctx ends; cases that it did not come to are missing in the report,
// which is then not OK.
func Run(ctx context.Context, s Subject) Report {
	return Report{Subject: s.Name}
}

// TB is what Check needs of a test; *testing.T has it.
type TB interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Check runs the suite as a test: an error for each case that failed, a log
// line for each that is not applicable. It returns the report, for tests that
// want certain cases to have applied.
func Check(tb TB, s Subject) Report {
	tb.Helper()
	r := Run(tb.Context(), s)
	for _, one := range r.Results {
		switch one.Outcome {
		case Failed:
			tb.Errorf("%s: %s\n\tpromise: %s\n\tusually: %s", one.Name, one.Reason, one.Promise, one.Catches)
		case NotApplicable:
			tb.Logf("%s: not applicable: %s", one.Name, one.Reason)
		}
	}
	if len(r.Results) == 0 {
		tb.Errorf("%s: no case ran", s.Name)
	}
	return r
}
