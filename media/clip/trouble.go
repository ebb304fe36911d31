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
	missed   uint64 // pictures that came while nothing was recorded
	wait     time.Duration
	retry    time.Time
	logged   time.Time
}

// over tells whether it is time to try again.
func (t *trouble) over(now time.Time) bool { return !now.Before(t.retry) }

func (t *trouble) failed(err error, now time.Time) {
	t.failures++
	t.wait = min(max(2*t.wait, firstRetry), maxRetry)
	t.retry = now.Add(t.wait)
	if t.failures == 1 || now.Sub(t.logged) >= logEvery {
		t.logged = now
		t.log.Warn("clip lost, recording tries again at a later key frame", zap.Error(err),
			zap.Int("failures", t.failures), zap.Uint64("frames_missed", t.missed), zap.Duration("retry_in", t.wait))
	}
}

// cleared: a clip was stored.
func (t *trouble) cleared() {
	if t.failures > 0 {
		t.log.Info("recording works again", zap.Int("failures", t.failures), zap.Uint64("frames_missed", t.missed))
	}
	*t = trouble{log: t.log}
}
