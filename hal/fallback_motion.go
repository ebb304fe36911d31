package hal

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// What makes a motion of many single looks.
const (
	// motionLooks is how often fall-backs look for motion.
	motionLooks = 200 * time.Millisecond
	// motionBegins is how many looks in a row see motion before one begins.
	motionBegins = 2
	// motionCalm is how long none may be seen before it ends.
	motionCalm = 2 * time.Second
	// motionKept is how many events wait for their reader.
	motionKept = 16
)

// motionEvents turns looks into begins and ends, and keeps them for one reader.
type motionEvents struct {
	closed <-chan struct{}
	wake   chan struct{}

	mu     sync.Mutex
	list   []MotionEvent
	active bool
	row    int       // looks in a row that saw motion
	seen   time.Time // when motion was seen last
}

func newMotionEvents(closed <-chan struct{}) *motionEvents {
	return &motionEvents{closed: closed, wake: make(chan struct{}, 1)}
}

// look takes what one look saw.
func (m *motionEvents) look(at time.Time, moves bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !moves {
		m.row = 0
		if m.active && at.Sub(m.seen) >= motionCalm {
			m.tell(at, false)
		}
		return
	}
	m.row++
	m.seen = at
	if !m.active && m.row >= motionBegins {
		m.tell(at, true)
	}
}

// calm ends a motion that nobody looks at any more.
func (m *motionEvents) calm(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.row = 0
	if m.active {
		m.tell(at, false)
	}
}

// tell queues an event; a reader that is far behind misses whole motions, so
// that begin and end stay in turns. With mu held.
func (m *motionEvents) tell(at time.Time, active bool) {
	m.active = active
	if len(m.list) == motionKept {
		m.list = append(m.list[:0], m.list[2:]...)
	}
	m.list = append(m.list, MotionEvent{Time: at, Active: active})
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// next blocks for the next event.
func (m *motionEvents) next(ctx context.Context) (MotionEvent, error) {
	for {
		m.mu.Lock()
		if len(m.list) > 0 {
			e := m.list[0]
			m.list = append(m.list[:0], m.list[1:]...)
			m.mu.Unlock()
			return e, nil
		}
		m.mu.Unlock()
		select {
		case <-m.wake:
		case <-m.closed:
			return MotionEvent{}, fmt.Errorf("motion: %w", ErrClosed)
		case <-ctx.Done():
			return MotionEvent{}, ctx.Err()
		}
	}
}
