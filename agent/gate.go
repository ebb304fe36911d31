package agent

import (
	"context"
	"sync"
)

// gate is a condition (bound, recording, microphone) that a service follows.
// All methods may be called from any goroutine.
type gate struct {
	mu      sync.Mutex
	open    bool
	changed chan struct{} // closed and replaced at every change
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != open {
		g.open = open
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

func (g *gate) state() (open bool, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.changed
}

// wait returns when the gate is as wanted.
func (g *gate) wait(ctx context.Context, want bool) error {
	for {
		open, changed := g.state()
		if open == want {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve runs fn whenever the gate is open and ends it when the gate closes.
// It returns fn's error if fn ended by itself, and ctx's at the end.
func (g *gate) serve(ctx context.Context, fn func(context.Context) error) error {
	for {
		if err := g.wait(ctx, true); err != nil {
			return err
		}
		inner, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			g.wait(inner, false)
			cancel()
		}()
		err := fn(inner)
		closed := inner.Err() != nil
		cancel()
		<-watched
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !closed {
			return err
		}
	}
}
