package site

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// How sites are measured.
const (
	tries     = 3
	tryWithin = 5 * time.Second
)

// never is the time of a site that does not answer.
const never = time.Duration(math.MaxInt64)

// measure tells the time of each site by its index, the median of three tries, and
// all indices with the nearest first; those alike, and those that do not answer,
// stay in the order of the configuration.
func (c *Chooser) measure(ctx context.Context) (order []int, times []time.Duration) {
	times = make([]time.Duration, len(c.cfg.Sites))
	var all sync.WaitGroup
	for i, s := range c.cfg.Sites {
		order = append(order, i)
		all.Go(func() { times[i] = c.median(ctx, s) })
	}
	all.Wait()
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(times[a], times[b]) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = map[string]time.Duration{}
	for i, s := range c.cfg.Sites {
		if times[i] != never {
			c.times[s.Name] = times[i]
		}
	}
	return order, times
}

func (c *Chooser) median(ctx context.Context, s Site) time.Duration {
	var all [tries]time.Duration
	for i := range all {
		var err error
		if all[i], err = c.probe(ctx, s); err != nil {
			all[i] = never
		}
	}
	slices.Sort(all[:])
	return all[tries/2]
}

func (c *Chooser) probe(ctx context.Context, s Site) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	return c.cfg.Probe(ctx, s.Broker)
}

// nearEnough tells whether a site that served before is still near enough: to
// change for little would be to change at every start.
func nearEnough(last, best time.Duration) bool {
	return last <= best+best/4+10*time.Millisecond
}
