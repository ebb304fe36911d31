package clip

import (
	"time"

	"go.uber.org/zap"
)

const (
	firstRetry = time.Second
	maxRetry   = 30 * time.Second
	logEvery   = time.Minute
)

// trouble keeps account of a store that fails: when to try again, and what to
// log of it: the first failure, then one line a minute, then that it is over.
type trouble struct {
	log      *zap.Logger
	failures int
	last     error // nil: none
	wait     time.Duration
	retry    time.Time
	logged   time.Time
}

// over tells whether it is time to try again.
func (t *trouble) over(now time.Time) bool { return !now.Before(t.retry) }

func (t *trouble) failed(err error, now time.Time) {
	t.failures++
	t.last = err
	t.wait = min(max(2*t.wait, firstRetry), maxRetry)
	t.retry = now.Add(t.wait)
	if t.failures == 1 || now.Sub(t.logged) >= logEvery {
		t.logged = now
		t.log.Warn("a clip could not be kept, recording tries again with what memory holds", zap.Error(err),
			zap.Int("failures", t.failures), zap.Duration("retry_in", t.wait))
	}
}

// cleared: a clip was stored.
func (t *trouble) cleared() {
	if t.failures > 0 {
		t.log.Info("recording works again", zap.Int("failures", t.failures))
	}
	*t = trouble{log: t.log}
}
