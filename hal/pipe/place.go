package pipe

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// opened is an open stream.
type opened interface {
	Close() error
	over() <-chan struct{} // closed when Close is done
}

// places remembers which streams are open.
type places struct {
	mu   sync.Mutex
	open map[string]opened
}

// vacant waits until a stream that is being closed is gone: two at once would
// fight for the device.
func (p *places) vacant(ctx context.Context, name string) error {
	p.mu.Lock()
	o := p.open[name]
	p.mu.Unlock()
	if o == nil {
		return ctx.Err()
	}
	select {
	case <-o.over():
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (p *places) put(name string, o opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[string]opened{}
	}
	p.open[name] = o
}

func (p *places) forget(name string, o opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[name] == o {
		delete(p.open, name)
	}
}

// close closes what is open.
func (p *places) close() error {
	p.mu.Lock()
	open := slices.Collect(maps.Values(p.open))
	p.mu.Unlock()
	var errs []error
	for _, o := range open {
		errs = append(errs, o.Close())
	}
	return errors.Join(errs...)
}
