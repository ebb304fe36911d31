package agent

import (
	"sync"
	"time"
)

// tenure is the binding for which something is recorded, and since when: what was
// captured before is not the owner's. Its methods may be called from any goroutine.
type tenure struct {
	mu     sync.Mutex
	bindID string
	since  time.Time
}

// set tells whether it is another one than before.
func (t *tenure) set(bindID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bindID == bindID {
		return false
	}
	t.bindID, t.since = bindID, time.Now()
	return true
}

func (t *tenure) get() (bindID string, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bindID, t.since
}

// ofRun is what this run knows of the clips that it has begun and not committed:
// recovery leaves alone what is open, even if the card was away meanwhile, and
// closes of what failed only what the recorder does not record again. Its methods
// may be called from any goroutine.
type ofRun struct {
	mu    sync.Mutex
	clips map[string]*clipNote // nil: open; else the last fragment that was synced
}

func (r *ofRun) begin(name string) { r.put(name, nil) }

func (r *ofRun) end(name string, last clipNote) { r.put(name, &last) }

func (r *ofRun) put(name string, last *clipNote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clips == nil {
		r.clips = map[string]*clipNote{}
	}
	r.clips[name] = last
}

func (r *ofRun) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clips, name)
}

func (r *ofRun) isOpen(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.clips[name]
	return ok && last == nil
}

// synced are those of the notes that tell of what was synced; of a clip of an
// earlier run all do.
func (r *ofRun) synced(name string, notes []clipNote) []clipNote {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.clips[name]
	for i, n := range notes {
		if last != nil && (n.Size > last.Size || n.Plain > last.Plain) {
			return notes[:i]
		}
	}
	return notes
}
