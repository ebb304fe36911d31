package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud/local"
)

// byLAN opens a line on the local network: to the address that is given, or
// wherever the camera is said to be, first come, first served. Who only says that
// it is the camera gets no session.
func (t Target) byLAN(ctx context.Context, wait time.Duration) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+t.Timeout)
	defer cancel()
	places, err := t.places(ctx, wait)
	if err != nil {
		return nil, err
	}
	tries := make(chan opened, len(places))
	for _, at := range places {
		go func() {
			l, err := t.dialLAN(ctx, at)
			tries <- opened{l, err}
		}()
	}
	var won opened
	for range places {
		o := <-tries
		switch {
		case won.line == nil && o.line != nil:
			won = o
			cancel() // the others
		case o.line != nil:
			o.line.end()
		case won.line == nil && (won.err == nil || refused(o.err)):
			won.err = o.err
		}
	}
	if won.line != nil {
		return won.line, nil
	}
	return nil, won.err
}

// places is where to look.
func (t Target) places(ctx context.Context, wait time.Duration) ([]string, error) {
	if t.LAN != Find && t.LAN != Auto {
		return []string{withPort(t.LAN)}, nil
	}
	looking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	places, err := t.Find(looking, t.Camera.BindID)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, local.ErrNotFound) || err == nil && len(places) == 0 {
		return nil, fmt.Errorf("camera %v was not found on the local network: is it switched on, and here? (--lan=HOST:PORT says where)", t.Camera.Serial)
	}
	return places, err
}

func (t Target) dialLAN(ctx context.Context, at string) (*line, error) {
	dialling, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	l := &line{kind: localNetwork, at: at}
	conn, err := local.Dial(dialling, at)
	if err != nil {
		return nil, fmt.Errorf("camera %v on the local network: %w", t.Camera.Serial, err)
	}
	l.lost, l.close = conn.Done(), func() { conn.Close() }
	if l.client, err = t.dial(dialling, conn, conn.Client()); err != nil {
		conn.Close()
		if !refused(err) && ctx.Err() == nil {
			return nil, fmt.Errorf("%s gives no session: it is not camera %v, or one that knows us no more", at, t.Camera.Serial)
		}
		return nil, t.why(ctx, l, err)
	}
	return l, nil
}
