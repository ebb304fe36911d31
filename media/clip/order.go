package clip

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Order says whether and why something is recorded; with the zero Order nothing is.
type Order struct {
	Trigger string // "continuous", "schedule", "command", "motion"; "": nothing is recorded
	Event   string // id that all clips of one event share; "": of none
	Urgent  bool   // an alarm: clips are short, and uploaded first
}

// stronger is the order of a clip that holds pictures of both: what it began
// with, unless the other one is an alarm's or an event's.
func (o Order) stronger(other Order) Order {
	if other.Urgent && !o.Urgent || other.Event != "" && o.Event == "" && !o.Urgent {
		return other
	}
	return o
}

// mark is an order and the capture time from which it holds.
type mark struct {
	from time.Time
	Order
	first *picture // the key frame that it begins with, if there was one when it was given
}

// orders is what is wanted when: each mark holds up to the next. The recorder
// reads the past, so that it needs to know what was wanted then.
type orders struct {
	mu   sync.Mutex
	list []mark        // times rise; before the first nothing is wanted
	gone time.Time     // of Forget
	wake chan struct{} // capacity 1
}

// Follow says what is to be recorded from now on, or from a capture time that
// may lie back as far as the ring holds (pre-roll); zero, or a time to come: now.
// What was said of later times is void. Pictures that are in a clip already are
// not recorded again. It may be called from any goroutine, before, while and
// between two calls of Run.
func (r *Recorder) Follow(o Order, since time.Time) {
	if now := time.Now(); since.IsZero() || since.After(now) {
		since = now
	}
	m := mark{from: since, Order: o}
	if s, ok := r.stream.Ring.KeySince(since, 0); ok && o.Trigger != "" {
		m.first = &picture{seq: s.Seq, time: s.Time}
	}
	r.orders.follow(m)
}

// Forget says that nothing captured before t is to be recorded from now on, not
// even for the sake of a picture after it: a clip that begins then begins with the
// first key frame from t on, which is asked for. Nobody wanted it to be kept, or
// it was somebody else's. It may be called as Follow, before what it is for.
func (r *Recorder) Forget(t time.Time) {
	r.orders.mu.Lock()
	defer r.orders.mu.Unlock()
	if t.After(r.orders.gone) {
		r.orders.gone = t
	}
}

func (o *orders) floor() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone
}

// skipForgotten leaves out the pictures from before Forget, as far as the ring
// has a key frame for them.
func (r *Recorder) skipForgotten() {
	floor := r.orders.floor()
	if floor.IsZero() {
		return
	}
	s, ok := r.stream.Ring.KeySince(floor, r.next)
	if !ok || !s.Time.Before(floor) {
		return
	}
	r.next = s.Seq + 1
	if _, ok := r.stream.Ring.KeySince(floor, r.next); !ok && r.cfg.WantKeyframe != nil {
		r.cfg.WantKeyframe()
	}
}

func (o *orders) follow(m mark) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := len(o.list)
	for i > 0 && !o.list[i-1].from.Before(m.from) {
		i--
	}
	o.list = o.list[:i]
	if i == 0 || o.list[i-1].Order != m.Order {
		o.list = append(o.list, m)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// at tells what is wanted of a picture captured at t.
func (o *orders) at(t time.Time) mark {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.list) - 1; i >= 0; i-- {
		if !o.list[i].from.After(t) {
			return o.list[i]
		}
	}
	return mark{}
}

// until lists what was wanted up to a time.
func (o *orders) until(t time.Time) (list []mark) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.list {
		if m.Trigger != "" && !m.from.After(t) {
			list = append(list, m)
		}
	}
	return list
}

// reach makes what is wanted first hold from t already, the capture time of the
// key frame that its first picture needs.
func (o *orders) reach(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.list, func(m mark) bool { return m.Trigger != "" })
	if i >= 0 && o.list[i].from.After(t) {
		o.list[i].from = t
		o.list = slices.Delete(o.list, 0, i)
	}
}

// forget drops what was wanted before t.
func (o *orders) forget(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n+1 < len(o.list) && !o.list[n+1].from.After(t) {
		n++
	}
	o.list = slices.Delete(o.list, 0, n)
}

// wait blocks until something is wanted.
func (o *orders) wait(ctx context.Context) (mark, error) {
	for {
		if m, ok := o.first(); ok {
			return m, nil
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return mark{}, ctx.Err()
		}
	}
}

func (o *orders) first() (mark, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.list {
		if m.Trigger != "" {
			return m, true
		}
	}
	return mark{}, false
}
