package haltest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// call is something under way in a goroutine of its own.
type call struct{ done chan error }

// start runs f in a goroutine; its panic becomes an error.
func start(f func() error) *call {
	c := &call{done: make(chan error, 1)}
	go func() { c.done <- protect(f) }()
	return c
}

func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v, %s", errPanic, p, panicked(string(debug.Stack())))
		}
	}()
	return f()
}

// panicked is the place in a stack where a panic came from.
func panicked(stack string) string {
	lines := strings.Split(stack, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") && i+3 < len(lines) {
			return strings.TrimSpace(lines[i+3])
		}
	}
	return "place unknown"
}

var (
	errHangs   = errors.New("it hangs")
	errPanic   = errors.New("panic")
	errNothing = errors.New("without an error")
)

// wait returns what came of the call, errHangs if it takes longer than d.
func (c *call) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case err := <-c.done:
		return err
	case <-t.C:
		return fmt.Errorf("%w: not back within %v", errHangs, d)
	}
}

// end waits until the call returns; when ctx ends it waits a little longer.
func (c *call) end(ctx context.Context) error {
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return c.wait(grace / 2)
	}
}

// running tells whether the call is still under way after d.
func (c *call) running(d time.Duration) error {
	err := c.wait(d)
	if errors.Is(err, errHangs) {
		return nil
	}
	c.done <- err
	return fmt.Errorf("it ended by itself: %w", cmp.Or(err, errNothing))
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eventually asks is until it says yes, for d at most.
func eventually(ctx context.Context, d time.Duration, is func() (bool, error)) (bool, error) {
	for end := time.Now().Add(d); ; {
		yes, err := is()
		if yes || err != nil || time.Now().After(end) {
			return yes, err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return false, err
		}
	}
}
