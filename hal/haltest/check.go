package haltest

import "context"

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
	if !r.OK && r.Count(Failed) == 0 {
		tb.Errorf("%s: none of %d cases failed, but %d passed: all were not applicable, or the test's context ended", s.Name, len(r.Results), r.Count(Passed))
	}
	return r
}
