package haltest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// leaky leaves something behind with each board.
type leaky struct {
	*sim.Board
	leave func()
}

func (l leaky) Close() error {
	l.leave()
	return l.Board.Close()
}

// M13: what a board leaves behind is found, each kind by its own case. Not
// parallel: files and processes are those of all tests.
func TestM13_WhatIsLeftIsFound(t *testing.T) {
	cases := []string{"no-goroutine-left", "no-file-left", "no-process-left"}
	run := func(leave func()) haltest.Report {
		return haltest.Run(t.Context(), haltest.Subject{Only: cases, Open: func(context.Context) (hal.Board, []any, error) {
			return leaky{sim.New(small()), leave}, nil, nil
		}})
	}
	if r := run(func() {}); !r.OK || r.Count(haltest.Passed) != len(cases) {
		t.Fatalf("nothing is left, and: %+v", r.Results)
	}
	stop := make(chan struct{})
	defer close(stop)
	for name, leave := range map[string]func(){
		"no-goroutine-left": func() { go func() { <-stop }() },
		"no-file-left": func() {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		},
		"no-process-left": func() {
			child := exec.Command("/proc/self/exe", "-test.run=^$")
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = child.Wait() }) // until then it is dead, but there
		},
	} {
		r := run(leave)
		for _, one := range r.Results {
			// os/exec keeps a handle of the child, until it was waited for.
			if one.Outcome == haltest.Failed && one.Name != name && !(name == "no-process-left" && strings.Contains(one.Reason, "pidfd")) {
				t.Errorf("%s: found by %s too: %s", name, one.Name, one.Reason)
			}
			if one.Name == name && one.Outcome != haltest.Failed {
				t.Errorf("%s: not found", name)
			}
		}
	}
}

// panics is a board that crashes in OpenVideo, hangs one whose OpenVideo never
// comes back.
type panics struct{ *sim.Board }

func (panics) OpenVideo(context.Context, string, hal.VideoConfig) (hal.VideoStream, error) {
	var none map[string]int
	none["x"]++
	return nil, nil
}

type hangs struct {
	*sim.Board
	done chan struct{}
}

func (h hangs) OpenVideo(context.Context, string, hal.VideoConfig) (hal.VideoStream, error) {
	<-h.done
	return nil, hal.ErrClosed
}

func TestM13_APanicIsAFailedCaseAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := haltest.Run(t.Context(), haltest.Subject{Shared: true, Only: []string{"runs", "cancel", "siren"},
			Open: func(context.Context) (hal.Board, []any, error) { return panics{sim.New(small())}, nil, nil }})
		if len(r.Results) != 3 || r.OK || r.Results[2].Outcome != haltest.Passed {
			t.Fatalf("%+v", r)
		}
		for _, one := range r.Results[:2] {
			if !strings.Contains(one.Reason, "panic: assignment to entry in nil map") || !strings.Contains(one.Reason, "run_test.go:") {
				t.Errorf("%s: %s", one.Name, one.Reason)
			}
		}
	})
}

func TestM13_ABoardThatHangsFailsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := hangs{sim.New(small()), make(chan struct{})}
		defer close(h.done)
		r := haltest.Run(t.Context(), haltest.Subject{Shared: true, Only: []string{"first-frame", "cancel", "siren"},
			Open: func(context.Context) (hal.Board, []any, error) { return h, nil, nil }})
		if r.Count(haltest.Failed) != 2 || r.Count(haltest.Passed) != 1 || r.Took > 2*time.Minute {
			t.Errorf("%+v", r)
		}
	})
}

func TestM13_ABoardThatCantBeOpenedIsOneFailure(t *testing.T) {
	t.Parallel()
	r := haltest.Run(t.Context(), haltest.Subject{Name: "none", Shared: true,
		Open: func(context.Context) (hal.Board, []any, error) {
			return nil, nil, fmt.Errorf("%w: /dev/video7", hal.ErrNotFound)
		}})
	if r.OK || r.Count(haltest.Failed) != 1 || r.Count(haltest.NotApplicable) != len(haltest.Cases())-1 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.Results[0].Reason, "/dev/video7") {
		t.Errorf("%+v", r.Results[0])
	}
}

func TestM13_RunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r := haltest.Run(ctx, haltest.Subject{Shared: true,
			Open: func(context.Context) (hal.Board, []any, error) { return sim.New(small()), nil, nil }})
		if r.OK || r.Took > 6*time.Second || len(r.Results) >= len(haltest.Cases()) {
			t.Errorf("OK %v after %v with %d results", r.OK, r.Took, len(r.Results))
		}
	})
}

// What is to be heard is left out, and told so; firmware is not written unasked.
func TestM13_QuietAndNotDestructive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := sim.New(small())
		r := haltest.Run(t.Context(), haltest.Subject{Shared: true, Quiet: true, Only: []string{"siren", "speaker-pace", "firmware-write"},
			Open: func(context.Context) (hal.Board, []any, error) { return b, nil, nil }})
		for _, one := range r.Results {
			if one.Outcome != haltest.NotApplicable || !strings.HasPrefix(one.Reason, "left out") {
				t.Errorf("%+v", one)
			}
		}
		if len(b.Heard()) > 0 {
			t.Error("it was heard")
		}
	})
}

func TestM13_ReportForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	var told []string
	var r haltest.Report
	synctest.Test(t, func(t *testing.T) {
		r = haltest.Run(t.Context(), haltest.Subject{Name: "the one at the door", Shared: true, Only: []string{"streams", "siren", "grab"},
			Open:     func(context.Context) (hal.Board, []any, error) { return sim.New(small()), []any{mute{}}, nil },
			Starting: func(c haltest.Case) { told = append(told, c.Name) },
			Done:     func(r haltest.Result) { told = append(told, string(r.Outcome)) },
		})
	})
	if got := strings.Join(told, " "); got != "streams ok grab not applicable siren failed" {
		t.Error(got)
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"the one at the door: board sim", "\nok ", "\nnot applicable  grab", "it has no raw pictures\n", "\nfailed ",
		"it says false after true\n", "promise: SetSiren", "usually: a siren", "\n1 ok, 1 failed, 1 not applicable, in 0s\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if err := r.Write(brokenWriter{}); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Subject string
		OK      bool
		Info    hal.Info
		Streams []hal.StreamInfo
		Results []struct{ Name, Outcome, Reason, Promise, Catches string }
	}
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if back.OK || back.Info.Board != "sim" || len(back.Streams) != 2 || len(back.Results) != 3 || back.Results[2].Name != "siren" || back.Results[2].Catches == "" {
		t.Errorf("%s", raw)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestM13_NamesAreUniqueAndEverythingIsTold(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range haltest.Cases() {
		if seen[c.Name] || c.Name == "" || c.Promise == "" || c.Catches == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Name] = true
	}
}

// fakeTB is a test that notes what it is told.
type fakeTB struct {
	*testing.T
	errors []string
}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func TestM13_CheckFailsTheTest(t *testing.T) {
	t.Parallel()
	open := func(context.Context) (hal.Board, []any, error) { return sim.New(small()), []any{mute{}}, nil }
	tb := &fakeTB{T: t}
	haltest.Check(tb, haltest.Subject{Shared: true, Only: []string{"siren", "leds"}, Open: open})
	if len(tb.errors) != 1 || !strings.HasPrefix(tb.errors[0], "siren: it says false") {
		t.Errorf("%q", tb.errors)
	}
	// Nothing that applies is no pass.
	tb = &fakeTB{T: t}
	haltest.Check(tb, haltest.Subject{Shared: true, Only: []string{"grab"}, Open: open})
	if len(tb.errors) != 1 {
		t.Errorf("%q", tb.errors)
	}
	tb = &fakeTB{T: t}
	haltest.Check(tb, haltest.Subject{Shared: true, Only: []string{"leds", "no-such"}, Open: open})
	if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], "no-such: there is no such case") {
		t.Errorf("%q", tb.errors)
	}
}
