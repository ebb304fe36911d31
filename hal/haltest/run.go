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
func Run(ctx context.Context, s Subject) Report {
	begin := time.Now()
	r := Report{Subject: s.Name}
	run := &subject{Subject: s, id: strconv.FormatUint(rand.Uint64(), 36)}
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

// one runs one case. After a failure the board is closed: the next one gets it anew.
func (s *subject) one(ctx context.Context, c *Case) Result {
	if s.Starting != nil {
		s.Starting(*c)
	}
	begin := time.Now()
	r := Result{Case: *c, Outcome: Passed}
	var l lacking
	switch err := s.guard(ctx, c); {
	case errors.As(err, &l):
		r.Outcome, r.Reason = NotApplicable, l.Error()
	case err != nil:
		r.Outcome, r.Reason = Failed, err.Error()
		if err := s.close(); err != nil {
			r.Reason += "; closing the board: " + err.Error()
		}
	}
	r.Took = time.Since(begin)
	if s.Done != nil {
		s.Done(r)
	}
	return r
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
