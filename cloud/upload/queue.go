package upload

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/retry"
	"iid2secure.nl/camagent/cloud/spool"
)

// Limits of the queue.
const (
	ahead        = 4                      // objects that are held, with their grants, one being sent included
	urgentAhead  = 8                      // snapshots and alarms may fill it up to here
	peekEvery    = 500 * time.Millisecond // a full queue of routine objects looks for alarms
	overtake     = 300 * time.Millisecond // an alarm waits so long for a routine object that is being sent
	hurryWithin  = 2 * time.Second        // an alarm that arrives cuts a back-off down to this
	defaultGrant = 5 * time.Minute        // validity of a grant that does not tell
)

// class is what is sent one after the other: snapshots, alarms, all the rest.
type class uint8

const (
	snapshots class = iota
	alarms
	routine
)

func classOf(l spool.Lane) class {
	switch l {
	case spool.Snapshot:
		return snapshots
	case spool.Alarm:
		return alarms
	}
	return routine
}

// job is an object on its way. Its fields are for the sender that has it; those
// below mu belong to the queue.
type job struct {
	spool.Object
	class class
	since time.Time // since it is held
	bind  string    // for whom the card gave it: it goes below this binding, or back. P7

	parts []partState // by part
	// manifest of a clip, read before the clip is sent: should the card give both up
	// meanwhile, the store still gets what makes the clip good.
	manifest []byte

	asks []*ask    // by part; guarded by queue.mu
	file int       // the part that body is of
	body *cardBody // being sent; guarded by queue.mu
}

// partState is what is known of a part in the store.
type partState uint8

const (
	unsent partState = iota
	maybe            // it was sent, or the answer was lost: a look tells
	there            // confirmed
)

// ask is one question for a grant, perhaps still on its way.
type ask struct {
	done  chan struct{} // closed once the fields below are set
	grant cloud.Grant
	until time.Time // by our monotonic clock
	err   error
}

// stale tells whether a new one is needed. It never waits.
func (a *ask) stale(now time.Time) bool {
	if a == nil {
		return true
	}
	select {
	case <-a.done:
		return a.err != nil || now.After(a.until)
	default:
		return false
	}
}

// senders is how many objects are sent at once: one in order, and one that overtakes.
const senders = 2

// queue holds the next objects in the order in which they go, and says when.
type queue struct {
	mu      sync.Mutex
	jobs    []*job // by lane, then by age
	sending [senders]*job
	cancel  [senders]context.CancelCauseFunc
	backoff retry.Backoff
	until   time.Time     // nothing is sent before
	floor   time.Time     // the store has asked for this much; nothing cuts it short
	changed chan struct{} // closed and replaced at every change
}

func newQueue(maxWait time.Duration) *queue {
	return &queue{backoff: retry.Backoff{Min: min(time.Second, maxWait), Max: maxWait}, changed: make(chan struct{})}
}

func (q *queue) wakeLocked() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// push enters an object that is held for a binding; one of that name that is held
// already stays. An urgent one cuts a back-off short, but not what the store has
// asked for.
func (q *queue) push(o spool.Object, bind string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if slices.ContainsFunc(q.jobs, func(j *job) bool { return j.Name == o.Name }) {
		return
	}
	j := &job{
		Object: o, class: classOf(o.Lane), since: time.Now(), bind: bind,
		parts: make([]partState, len(o.Parts)), asks: make([]*ask, len(o.Parts)),
	}
	i := slices.IndexFunc(q.jobs, func(k *job) bool { return k.Lane > o.Lane })
	if i < 0 {
		i = len(q.jobs)
	}
	q.jobs = slices.Insert(q.jobs, i, j)
	if j.class < routine {
		q.cutLocked(rand.N(hurryWithin))
	}
	q.wakeLocked()
}

// cutLocked shortens the wait to at most d from now.
func (q *queue) cutLocked(d time.Duration) {
	if at := time.Now().Add(d); at.Before(q.until) {
		q.until = at
		if q.floor.After(at) {
			q.until = q.floor
		}
	}
}

// kick ends the wait between attempts.
func (q *queue) kick() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cutLocked(0)
	q.wakeLocked()
}

// drop takes a job out.
func (q *queue) drop(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = slices.DeleteFunc(q.jobs, func(k *job) bool { return k == j })
	q.wakeLocked()
}

// full tells whether an object of the class must wait before it is held.
func (q *queue) full(c class) bool {
	if c < routine {
		return len(q.jobs) >= urgentAhead
	}
	return len(q.jobs) >= ahead
}

// room waits until something may be fetched; while only urgent objects may, it
// returns now and then.
func (q *queue) room(ctx context.Context) error {
	peek := time.Now().Add(peekEvery)
	for ctx.Err() == nil {
		q.mu.Lock()
		any, urgent, changed := !q.full(routine), !q.full(alarms), q.changed
		q.mu.Unlock()
		wait := time.Until(peek)
		if any || urgent && wait <= 0 {
			return nil
		}
		if !urgent {
			wait = 0
		}
		if err := retry.Change(ctx, changed, wait); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// busy tells whether there is only room for what is urgent.
func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full(routine)
}

// fits tells whether an object may be held now.
func (q *queue) fits(o spool.Object) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.full(classOf(o.Lane))
}

// take waits for the object that sender i is to send next. cancel ends what is
// sent when nothing may leave any more.
func (q *queue) take(ctx context.Context, i int, cancel context.CancelCauseFunc) (*job, error) {
	for ctx.Err() == nil {
		q.mu.Lock()
		j, wait := q.pick(i, time.Now())
		if j != nil {
			q.sending[i], q.cancel[i] = j, cancel
			q.wakeLocked()
			q.mu.Unlock()
			return j, nil
		}
		changed := q.changed
		q.mu.Unlock()
		if err := retry.Change(ctx, changed, wait); err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// pick finds the most urgent object for sender i: none of a class that is being
// sent, so that the order in it is kept; and the second sender only takes what
// has waited long enough for a less urgent one. wait is how long until one is
// due, 0: nothing is by itself.
func (q *queue) pick(i int, now time.Time) (*job, time.Duration) {
	other := q.sending[1-i]
	for _, j := range q.jobs {
		if other != nil && j.class == other.class {
			continue
		}
		due := q.until
		if i > 0 {
			if other == nil || j.class > other.class {
				return nil, 0
			}
			if at := j.since.Add(overtake); at.After(due) {
				due = at
			}
		}
		return j.unless(due.After(now)), max(0, due.Sub(now))
	}
	return nil, 0
}

func (j *job) unless(no bool) *job {
	if no {
		return nil
	}
	return j
}

func (q *queue) isSending(j *job) bool {
	return slices.Contains(q.sending[:], j)
}

// setSum corrects the hash of a part; grants for the old one are void.
func (q *queue) setSum(j *job, part int, sum [32]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.Parts = slices.Clone(j.Parts)
	j.Parts[part].SHA256 = sum
	j.asks[part] = nil
}

// release says that sender i has nothing in hand.
func (q *queue) release(i int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending[i], q.cancel[i] = nil, nil
	q.wakeLocked()
}

// failed makes everything wait: full jitter over a doubling span, after what the
// store has asked for. It returns the wait.
func (q *queue) failed(asked time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	wait := asked + q.backoff.Next()
	if asked > 0 {
		q.floor = now.Add(asked)
	}
	if at := now.Add(wait); at.After(q.until) {
		q.until = at
	}
	return wait
}

// pause waits for a kick, or for d.
func (q *queue) pause(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.until = time.Now().Add(d)
}

// succeeded ends the back-off.
func (q *queue) succeeded() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.backoff.Reset()
	q.until, q.floor = time.Time{}, time.Time{}
	q.wakeLocked()
}

// stopUnless ends what is being sent below another binding than this one.
func (q *queue) stopUnless(bind string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, j := range q.sending {
		if j != nil && (!ok || j.bind != bind) {
			q.cancel[i](errNotNow)
		}
	}
}

// empty forgets all objects, and returns them.
func (q *queue) empty() (objects []spool.Object) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.jobs {
		objects = append(objects, j.Object)
	}
	q.jobs = nil
	return objects
}

// sends notes which part of j is being sent.
func (q *queue) sends(j *job, part int, b *cardBody) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.file, j.body = part, b
}

func (q *queue) stats() (list []Sending, next time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.sending {
		if j == nil {
			continue
		}
		p := j.Parts[j.file]
		s := Sending{File: p.Name, Lane: j.Lane, Size: p.Size, Since: j.since}
		if j.body != nil {
			s.Sent = j.body.sent.Load()
		}
		list = append(list, s)
	}
	if len(q.jobs) > 0 && q.until.After(time.Now()) {
		next = q.until
	}
	return list, next
}

// giveWay waits, at most for d, while something more urgent than j is sent.
func (q *queue) giveWay(ctx context.Context, j *job, d time.Duration) error {
	end := time.Now().Add(d)
	for {
		q.mu.Lock()
		behind, changed := false, q.changed
		for _, k := range q.sending {
			behind = behind || k != nil && k.class < j.class
		}
		q.mu.Unlock()
		wait := time.Until(end)
		if !behind || wait <= 0 {
			return nil
		}
		if err := retry.Change(ctx, changed, wait); err != nil {
			return err
		}
	}
}
