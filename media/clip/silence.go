package clip

import (
	"context"
	"errors"
	"time"

	"iid2secure.nl/camagent/media"
)

// errSilence says that nothing came for maxSilence.
var errSilence = errors.New("no sample for a while")

// silence waits for samples, but not for ever; it costs no memory a sample.
type silence struct {
	ctx    context.Context
	wait   context.Context // ends with ctx, or when it was silent for too long
	cancel context.CancelFunc
	timer  *time.Timer
}

func newSilence(ctx context.Context) *silence {
	q := &silence{ctx: ctx}
	q.renew()
	return q
}

func (q *silence) renew() {
	q.wait, q.cancel = context.WithCancel(q.ctx)
	q.timer = time.AfterFunc(maxSilence, q.cancel)
	q.timer.Stop()
}

func (q *silence) stop() {
	q.timer.Stop()
	q.cancel()
}

// next is rd.Next; if bounded, errSilence after maxSilence without a sample.
func (q *silence) next(rd *media.Reader, bounded bool) (media.Sample, error) {
	if !bounded {
		return rd.Next(q.ctx)
	}
	q.timer.Reset(maxSilence)
	s, err := rd.Next(q.wait)
	q.timer.Stop()
	if q.wait.Err() == nil || q.ctx.Err() != nil {
		return s, err
	}
	q.renew()
	if errors.Is(err, context.Canceled) {
		err = errSilence
	}
	return s, err
}
