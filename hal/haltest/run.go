package haltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"strconv"
	"time"
)

// Run goes through the cases in order, each with a time limit. A board that
// panics or hangs fails the case; the next one gets it anew. Run returns early
// only when ctx ends; cases that it did not come to are missing in the report,
// which is then not OK.
//
// While a case runs, Run watches how late the machine itself is. One that fails
// on a machine that was held up can't be judged: the board is opened anew, and the
// case runs again, at most twice. What fails on a machine that was not, has failed.
func Run(ctx context.Context, s Subject) Report { return run(ctx, s, listen) }

// run is Run on a machine that listen listens to.
func run(ctx context.Context, s Subject, listen func() (stop func() time.Duration)) Report {
	begin := time.Now()
	r := Report{Subject: s.Name}
	run := &subject{Subject: s, id: strconv.FormatUint(rand.Uint64(), 36), listen: listen}
	// Goroutines inherit labels: so the board's are told from all others.
	pprof.Do(ctx, pprof.Labels(label, run.id), func(ctx context.Context) { r.Results = run.all(ctx) })
	r.Info, r.Streams = run.info, run.streams
	r.Took = time.Since(begin)
	r.OK = ctx.Err() == nil && r.Count(Failed) == 0 && r.Count(Passed) > 0
	return r
}

func (s *subject) all(ctx context.Context) (results []Result) {
	s.before = s.left()
	defer s.close()
	for _, name := range s.Only {
		if !slices.ContainsFunc(Cases(), func(c Case) bool { return c.Name == name }) {
			return []Result{{Case: Case{Name: name}, Outcome: Failed, Reason: "there is no such case"}}
		}
	}
	for _, c := range Cases() {
		if len(s.Only) > 0 && !slices.Contains(s.Only, c.Name) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if len(results) > 0 && !s.opened() {
			c.run = func(context.Context, *subject) error { return lacks("the board can't be opened") }
		}
		results = append(results, s.one(ctx, &c))
	}
	return results
}

// one runs one case, again if the machine was held up. After a failure the board
// is closed: the next one gets it anew.
func (s *subject) one(ctx context.Context, c *Case) Result {
	if s.Starting != nil {
		s.Starting(*c)
	}
	begin := time.Now()
	r := Result{Case: *c}
	for again := true; again; {
		again = s.try(ctx, c, &r)
	}
	r.Took = time.Since(begin)
	if s.Done != nil {
		s.Done(r)
	}
	return r
}

// try runs the case once; again tells that it is undecided and to be repeated.
func (s *subject) try(ctx context.Context, c *Case, r *Result) (again bool) {
	s.filmHeld.Store(0)
	stop := s.listen()
	err := s.guard(ctx, c)
	held := max(stop(), time.Duration(s.filmHeld.Load()))
	var l lacking
	switch {
	case err == nil:
		r.Outcome = Passed
		return false
	case errors.As(err, &l):
		r.Outcome, r.Reason = NotApplicable, l.Error()
		return false
	}
	reason := err.Error()
	if err := s.close(); err != nil {
		reason += "; closing the board: " + err.Error()
	}
	if held > heldBound {
		r.Held = max(r.Held, held)
		// A crash is one, however late.
		if !errors.Is(err, errPanic) && s.repeat(ctx, r) {
			r.Undecided = append(r.Undecided, reason)
			return true
		}
	}
	r.Outcome, r.Reason = Failed, reason
	if r.Held > 0 {
		r.Reason += " (" + r.held() + ")"
	}
	return false
}

// repeat waits a while before a case runs again, and forgets the film; it tells
// whether the case may.
func (s *subject) repeat(ctx context.Context, r *Result) bool {
	if len(r.Undecided) == repeatsEach || s.repeats == repeatsAll || pause(ctx, calmDown) != nil {
		return false
	}
	s.repeats++
	s.mu.Lock()
	s.film = nil
	s.mu.Unlock()
	return true
}

// grace is how long a case may take after its context ended.
const grace = 2 * time.Second

func (s *subject) guard(ctx context.Context, c *Case) error {
	limited, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	err := start(func() error { return c.run(limited, s) }).wait(c.within + grace)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("not done within %v: %w", c.within, err)
	}
	return err
}
