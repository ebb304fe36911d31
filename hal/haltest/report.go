package haltest

import (
	"fmt"
	"io"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Outcome is what came of a case.
type Outcome string

// The outcomes.
const (
	Passed        Outcome = "ok"
	Failed        Outcome = "failed"
	NotApplicable Outcome = "not applicable" // the board lacks it, or it was left out
)

// Result is what came of one case.
type Result struct {
	Case
	Outcome Outcome `json:"outcome"`
	// Reason is the error of a failed case, or why it is not applicable.
	Reason string        `json:"reason,omitempty"`
	Took   time.Duration `json:"took"` // nanoseconds, repetitions included
	// Undecided is what was wrong each time when the machine was held up, so that
	// the case was repeated.
	Undecided []string `json:"undecided,omitempty"`
	// Held is by how much the machine itself was late in the worst second of those,
	// and of the last if it failed, in nanoseconds; 0: never by more than 50 ms.
	Held time.Duration `json:"held,omitempty"`
}

// held tells of the hold-up.
func (r *Result) held() string {
	told := fmt.Sprintf("held up for %d ms at the worst", r.Held.Milliseconds())
	switch n := len(r.Undecided); n {
	case 0:
		return told
	case 1:
		return told + ": repeated 1 time"
	default:
		return fmt.Sprintf("%s: repeated %d times", told, n)
	}
}

// Report is what came of a run.
type Report struct {
	Subject string           `json:"subject"`
	Info    hal.Info         `json:"info"`
	Streams []hal.StreamInfo `json:"streams"`
	OK      bool             `json:"ok"` // no case failed, and one passed at least
	Results []Result         `json:"results"`
	Took    time.Duration    `json:"took"` // nanoseconds
}

// Count tells how many cases came out so.
func (r *Report) Count(o Outcome) int {
	n := 0
	for _, one := range r.Results {
		if one.Outcome == o {
			n++
		}
	}
	return n
}

// Write prints the report for people: a line a case, and for a failed one what
// was promised, what was wrong, and which bug that usually is.
func (r *Report) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s: board %s (%s)\n", r.Subject, r.Info.Board, r.Info.Model); err != nil {
		return err
	}
	for _, one := range r.Results {
		if err := one.Write(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d ok, %d failed, %d not applicable, in %v\n",
		r.Count(Passed), r.Count(Failed), r.Count(NotApplicable), r.Took.Round(100*time.Millisecond))
	return err
}

// Write prints one result as [Report.Write] does.
func (r *Result) Write(w io.Writer) error {
	line := fmt.Sprintf("%-14s  %-22s", r.Outcome, r.Name)
	switch r.Outcome {
	case Failed:
		line += fmt.Sprintf("%s\n%16spromise: %s\n%16susually: %s", r.Reason, "", r.Promise, "", r.Catches)
	case NotApplicable:
		line += r.Reason
	default:
		line += r.Promise
	}
	if r.Outcome != Failed && r.Held > 0 {
		line += fmt.Sprintf("\n%16s%s", "", r.held())
	}
	for _, reason := range r.Undecided {
		line += fmt.Sprintf("\n%16snot judged: %s", "", reason)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
