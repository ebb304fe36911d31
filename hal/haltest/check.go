package haltest

import "context"

// TB is what Check needs of a test; *testing.T has it.
type TB interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Check runs the suite as a test: a log line for each case that is not applicable
// or was repeated, then, where a log that is cut still shows it, an error for each
// that failed. It returns the report, for tests that
// want certain cases to have applied.
func Check(tb TB, s Subject) Report {
	tb.Helper()
	r := Run(tb.Context(), s)
	for _, one := range r.Results {
		if one.Outcome == NotApplicable {
			tb.Logf("%s: not applicable: %s", one.Name, one.Reason)
		}
		if one.Outcome == Passed && one.Held > 0 {
			tb.Logf("%s: %s", one.Name, one.held())
		}
		for _, reason := range one.Undecided {
			tb.Logf("%s: not judged: %s", one.Name, reason)
		}
	}
	for _, one := range r.Results {
		if one.Outcome == Failed {
			tb.Errorf("%s: %s\n\tpromise: %s\n\tusually: %s", one.Name, one.Reason, one.Promise, one.Catches)
		}
	}
	if !r.OK && r.Count(Failed) == 0 {
		tb.Errorf("%s: none of %d cases failed, but %d passed: all were not applicable, or the test's context ended", s.Name, len(r.Results), r.Count(Passed))
	}
	return r
}
