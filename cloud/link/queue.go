package link

import "sync"

// queue is first-in first-out, bounded in number and bytes; when it is full, the
// newest is dropped, because the older ones are what its reader waits for. R6.
type queue struct {
	mu      sync.Mutex
	items   []Message
	bytes   int
	dropped uint64
	ready   chan struct{} // has a token when there may be something
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// push never blocks; false: dropped.
func (q *queue) push(m Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= inboxCount || q.bytes+len(m.Payload) > inboxBytes {
		q.dropped++
		return false
	}
	q.items = append(q.items, m)
	q.bytes += len(m.Payload)
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

func (q *queue) pop() (m Message, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return m, false
	}
	m = q.items[0]
	q.items[0] = Message{}
	q.items = q.items[1:]
	q.bytes -= len(m.Payload)
	return m, true
}

// drain empties the queue; what was in it counts as dropped.
func (q *queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += uint64(len(q.items))
	q.items, q.bytes = nil, 0
}

// drop counts a message that was not even queued.
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

func (q *queue) state() (count, bytes int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes, q.dropped
}
