package haltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

// heldFor is more than any case can bear.
const heldFor = 310 * time.Millisecond

func heldUp() time.Duration { return heldFor }

// calm is Run in a bubble, where nothing is late, without hearts, which would
// take a third of the time.
func calm(ctx context.Context, s haltest.Subject) haltest.Report {
	return haltest.RunHeld(ctx, s, func() time.Duration { return 0 })
}

// weary is a board whose first few do not work.
type weary struct {
	opened, bad int
	times       []time.Time // when it was opened
}

func (w *weary) open(context.Context) (hal.Board, []any, error) {
	w.times = append(w.times, time.Now())
	if w.opened++; w.opened <= w.bad {
		return sim.New(small()), []any{mute{}}, nil
	}
	return sim.New(small()), nil, nil
}

// M13: what fails while the machine is held up is repeated, on a new board, twice
// at most; what fails on a calm one is not.
func TestM13_HeldUpIsRepeatedAndCalmIsNot(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		bad    int
		held   []time.Duration // a try; the last for all that follow
		want   haltest.Outcome
		opened int
		told   time.Duration
	}{
		"well, held up":            {0, []time.Duration{heldFor}, haltest.Passed, 1, 0},
		"once, held up":            {1, []time.Duration{heldFor, 0}, haltest.Passed, 2, heldFor},
		"twice, held up":           {2, []time.Duration{heldFor}, haltest.Passed, 3, heldFor},
		"broken, held up":          {9, []time.Duration{60 * time.Millisecond, heldFor, 60 * time.Millisecond}, haltest.Failed, 3, heldFor},
		"broken, held up at first": {9, []time.Duration{heldFor, 0}, haltest.Failed, 2, heldFor},
		"broken, calm":             {9, []time.Duration{0}, haltest.Failed, 1, 0},
		"broken, as good as calm":  {9, []time.Duration{50 * time.Millisecond}, haltest.Failed, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := weary{bad: k.bad}
				var told []haltest.Result
				r := haltest.RunHeld(t.Context(), haltest.Subject{Shared: true, Only: []string{"siren"}, Open: w.open,
					Done: func(r haltest.Result) { told = append(told, r) }},
					func() time.Duration {
						d := k.held[0]
						k.held = k.held[min(1, len(k.held)-1):]
						return d
					})
				if len(r.Results) != 1 || len(told) != 1 || r.OK != (k.want == haltest.Passed) {
					t.Fatalf("%+v, told %d times", r, len(told))
				}
				one := r.Results[0]
				if one.Outcome != k.want || one.Held != k.told || len(one.Undecided) != k.opened-1 || w.opened != k.opened {
					t.Errorf("%+v, opened %d times, want %+v", one, w.opened, k)
				}
				if suffix := strings.Contains(one.Reason, "(held up for 310 ms at the worst: repeated "); suffix != (k.want == haltest.Failed && k.told > 0) {
					t.Errorf("the reason is %q", one.Reason)
				}
				for i := 1; i < len(w.times); i++ {
					if w.times[i].Sub(w.times[i-1]) < time.Second {
						t.Error("it was repeated without time to calm down")
					}
				}
			})
		})
	}
}

// A film is looked at long after it was taken: what held up the machine then
// counts, and a case that is repeated gets a new one.
func TestM13_AFilmThatWasHeldUpIsTakenAnew(t *testing.T) {
	t.Parallel()
	for _, held := range []time.Duration{heldFor, 0} {
		synctest.Test(t, func(t *testing.T) {
			after := &afterwards{opened: map[string]int{}}
			damaged := frames(func(_ *stream, au *hal.AccessUnit) { au.Params = 0 }) // of the first film alone
			asked, opened := 0, 0
			r := haltest.RunHeld(t.Context(), haltest.Subject{Shared: true, Only: []string{"runs", "frame-form", "sequence"},
				Open: func(context.Context) (hal.Board, []any, error) {
					opened++
					b, parts := damaged(sim.New(small()), after)
					return b, parts, nil
				}},
				func() time.Duration {
					if asked++; asked == 2 { // the first case asks, then its film
						return held
					}
					return 0
				})
			if len(r.Results) != 3 || r.Results[0].Outcome != haltest.Passed || r.Results[2].Outcome != haltest.Passed {
				t.Fatalf("%+v", r.Results)
			}
			one := r.Results[1]
			if held > 0 && (one.Outcome != haltest.Passed || one.Held != held || opened != 2) {
				t.Errorf("held up: %+v, opened %d times", one, opened)
			}
			if held == 0 && (one.Outcome != haltest.Failed || one.Held != 0) {
				t.Errorf("calm: %+v", one)
			}
		})
	}
}

// M13: a machine that is held up excuses no mutant. Of the cases that look at a film
// two stand for all: each film costs as much as twenty other cases.
func TestM13_EachCaseFindsItsMutantHeldUp(t *testing.T) {
	t.Parallel()
	films := slices.DeleteFunc(slices.Concat(videoMutants(), soundMutants()), func(m mutant) bool {
		return !slices.Contains([]string{"fps", "sound-rate", "speaker-pace", "speaker-close"}, m.finds)
	})
	for _, m := range slices.Concat(films, steerMutants(), lifeMutants(), partMutants()) {
		if m.finds == "start-stop" {
			continue // a new board cures it
		}
		m.only, m.again = []string{m.finds}, true
		t.Run(m.finds, func(t *testing.T) {
			t.Parallel()
			var r haltest.Report
			synctest.Test(t, func(t *testing.T) {
				r = m.run(t, func(ctx context.Context, s haltest.Subject) haltest.Report {
					return haltest.RunHeld(ctx, s, heldUp)
				})
			})
			one := r.Results[0]
			crash := strings.HasPrefix(one.Reason, "panic") // which is not repeated
			if one.Outcome != haltest.Failed || !crash && !strings.Contains(one.Reason, "(held up for 310 ms at the worst: repeated 2 times)") {
				t.Errorf("%s: %s: %s", m.how, one.Outcome, one.Reason)
			}
		})
	}
}

func TestM13_ACrashIsNoMatterOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := haltest.RunHeld(t.Context(), haltest.Subject{Shared: true, Only: []string{"runs", "cancel"},
			Open: func(context.Context) (hal.Board, []any, error) { return panics{sim.New(small())}, nil, nil }}, heldUp)
		for _, one := range r.Results {
			if one.Outcome != haltest.Failed || len(one.Undecided) > 0 {
				t.Errorf("%+v", one)
			}
		}
	})
}

// busy is a board whose streams can't be opened.
type busy struct{ *sim.Board }

func (busy) OpenVideo(context.Context, string, hal.VideoConfig) (hal.VideoStream, error) {
	return nil, hal.ErrBusy
}

// A board that breaks all its promises does not make the run long.
func TestM13_RepetitionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cases := []string{"cancel", "close-while-reading", "next-after-close", "start-stop", "close-unread", "while-reading"}
		r := haltest.RunHeld(t.Context(), haltest.Subject{Shared: true, Only: cases,
			Open: func(context.Context) (hal.Board, []any, error) { return busy{sim.New(small())}, nil, nil }}, heldUp)
		repeated := 0
		for _, one := range r.Results {
			repeated += len(one.Undecided)
		}
		if r.Count(haltest.Failed) != len(cases) || repeated != 6 {
			t.Errorf("%d repetitions, want 6: %+v", repeated, r.Results)
		}
		if last := r.Results[len(r.Results)-1].Reason; !strings.HasSuffix(last, "(held up for 310 ms at the worst)") {
			t.Error(last)
		}
	})
}

func TestM13_TheReportTellsOfRepetitions(t *testing.T) {
	t.Parallel()
	var r haltest.Report
	synctest.Test(t, func(t *testing.T) {
		w := weary{bad: 1}
		r = haltest.RunHeld(t.Context(), haltest.Subject{Shared: true, Only: []string{"siren"}, Open: w.open}, heldUp)
	})
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	const indent = "\n                "
	for _, want := range []string{"\nok ", indent + "held up for 310 ms at the worst: repeated 1 time\n", indent + "not judged: it says false after true\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	raw, err := json.Marshal(r.Results[0])
	if err != nil || !strings.Contains(string(raw), `"undecided":["it says false after true"],"held":310000000`) {
		t.Errorf("%s, %v", raw, err)
	}
}
