package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/retry"
)

// stableAfter is how long a connection must have lasted for the next wait to
// start at one second again.
const stableAfter = time.Minute

// Device is the camera's end. Its methods may be called from any goroutine;
// Run must be running for anything to happen.
type Device struct {
	cfg     DeviceConfig
	inbox   chan Message
	in, out *queue
	refresh chan struct{}
	move    chan struct{}
	wire    atomic.Pointer[wire] // nil: offline
	ignored atomic.Uint64

	mu       sync.Mutex
	asks     map[string]chan cloud.Answer
	connects uint64
	lastErr  error
}

// NewDevice checks cfg and starts nothing.
func NewDevice(cfg DeviceConfig) (*Device, error) {
	if cfg.Choose == nil {
		broker := cfg.Broker
		cfg.Choose = func(context.Context) string { return broker }
		if _, err := tlsConfig(broker, cfg.TLS); err != nil {
			return nil, err
		}
	} else if _, err := tlsConfig("site:0", cfg.TLS); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Device{
		cfg: cfg, inbox: make(chan Message), in: newQueue(), out: newQueue(),
		refresh: make(chan struct{}, 1), move: make(chan struct{}, 1), asks: map[string]chan cloud.Answer{},
	}, nil
}

// Run connects and reconnects (full jitter, 1 s doubling to 5 minutes, reset
// after a minute of stable connection) until ctx ends; then it says goodbye to
// the broker and returns nil.
func (d *Device) Run(ctx context.Context) error {
	var pump sync.WaitGroup
	pump.Go(func() { d.pump(ctx) })
	d.loop(ctx, d.session)
	pump.Wait()
	return nil
}

// loop runs sessions one after the other. session returns how long its
// connection stood, and why it ended. R8.
func (d *Device) loop(ctx context.Context, session func(context.Context) (time.Duration, error)) {
	var b retry.Backoff
	for ctx.Err() == nil {
		up, err := session(ctx)
		if ctx.Err() != nil {
			return
		}
		if up >= stableAfter {
			b.Reset()
		}
		if errors.Is(err, errMoved) {
			continue
		}
		wait := b.Next()
		d.setError(err)
		d.cfg.Log.Warn("no connection to the broker", zap.Error(err), zap.Duration("retry_in", wait.Round(time.Millisecond)))
		retry.Sleep(ctx, wait, d.move)
	}
}

func (d *Device) setError(err error) {
	d.mu.Lock()
	d.lastErr = err
	d.mu.Unlock()
	if d.cfg.OnChange != nil {
		d.cfg.OnChange(err)
	}
}

// pump hands the inbox to its reader.
func (d *Device) pump(ctx context.Context) {
	for {
		m, ok := d.in.pop()
		if !ok {
			select {
			case <-d.in.ready:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case d.inbox <- m:
		case <-ctx.Done():
			return
		}
	}
}

// session is one connection from its begin to its end.
func (d *Device) session(ctx context.Context) (up time.Duration, err error) {
	select {
	case <-d.move: // Choose does it
	default:
	}
	broker := d.cfg.Choose(ctx)
	t, err := tlsConfig(broker, d.cfg.TLS)
	if err != nil {
		return 0, err
	}
	w, err := openWire(ctx, wireConfig{
		broker: broker, tls: t, clientID: d.cfg.Serial.Plain(),
		will: cloud.TopicStatus(d.cfg.Serial), receive: d.receive,
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	defer func() {
		d.wire.Store(nil)
		d.failAsks()
		w.goodbye()
		d.out.drain()
		up = time.Since(began)
	}()
	if err := d.subscribe(ctx, w); err != nil {
		return 0, err
	}
	d.wire.Store(w)
	d.mu.Lock()
	d.connects++
	d.mu.Unlock()
	d.cfg.Log.Info("connected to the broker", zap.String("broker", broker))
	d.setError(nil)
	return 0, d.serve(ctx, w)
}

func (d *Device) subscribe(ctx context.Context, w *wire) error {
	if err := w.subscribe(ctx, cloud.TopicIn(d.cfg.Serial, "+"), 0); err != nil {
		return err
	}
	return w.subscribe(ctx, cloud.TopicAnswer(d.cfg.Serial), 1)
}

// serve publishes until the connection or ctx ends.
func (d *Device) serve(ctx context.Context, w *wire) error {
	d.publishPresence(w, true)
	for {
		select {
		case <-d.out.ready:
			d.flush(w)
		case <-d.refresh:
			d.publishPresence(w, true)
		case <-w.lost:
			return w.reason()
		case <-d.move:
			d.publishPresence(w, false)
			return errMoved
		case <-ctx.Done():
			d.publishPresence(w, false)
			return ctx.Err()
		}
	}
}

// flush sends what is queued, one message after the other, so that a slow line
// fills our bounded queue and not the library's.
func (d *Device) flush(w *wire) {
	for {
		m, ok := d.out.pop()
		if !ok {
			return
		}
		token, err := w.publish(cloud.TopicOut(d.cfg.Serial, m.Client), 0, false, m.Payload)
		if err == nil {
			err = w.await(context.Background(), token)
		}
		if err != nil {
			d.cfg.Log.Debug("message to an app not sent", zap.Error(err))
		}
	}
}

// publishPresence sets the retained status. The offline one waits for the
// broker's word, because the connection ends right after it.
func (d *Device) publishPresence(w *wire, online bool) {
	var payload []byte
	if d.cfg.Presence != nil {
		payload = d.cfg.Presence(online)
	}
	if payload == nil {
		if online {
			return
		}
		payload = []byte("offline")
	}
	token, err := w.publish(cloud.TopicStatus(d.cfg.Serial), 1, true, payload)
	if err == nil && !online {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		err = w.await(ctx, token)
	}
	if err != nil {
		d.cfg.Log.Debug("presence not published", zap.Bool("online", online), zap.Error(err))
	}
}

// receive sorts what the broker sends. It runs in the library's goroutine and
// only enqueues.
func (d *Device) receive(topic string, payload []byte, retained bool) {
	serial, kind, client, err := cloud.SplitTopic(topic)
	switch {
	case err != nil, serial != d.cfg.Serial, retained, len(payload) == 0, len(payload) > cloud.MaxMessage:
		// Retained ones are a stored command that comes back at every connect. S4
		d.ignored.Add(1)
	case kind == "in" && cloud.ValidClient(client):
		d.in.push(Message{Client: client, Payload: payload})
	case kind == "answer":
		d.answer(payload)
	default:
		d.ignored.Add(1)
	}
}

// Inbox yields the messages of apps in the order of arrival. It holds at most
// 64 messages and 1 MiB; newer ones are dropped while it is full. It is never
// closed.
func (d *Device) Inbox() <-chan Message { return d.inbox }

// Send queues msg for the app with the client id client. It never blocks;
// delivery is not promised: while offline, or with the queue full, msg is
// dropped and counted, and the error says so (ErrOffline, ErrTooLarge).
func (d *Device) Send(client string, msg []byte) error {
	switch {
	case !cloud.ValidClient(client):
		return fmt.Errorf("client id %.70q is not valid", client)
	case len(msg) > cloud.MaxMessage:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(msg), cloud.MaxMessage)
	case d.wire.Load() == nil:
		d.out.drop()
		return ErrOffline
	case !d.out.push(Message{Client: client, Payload: msg}):
		return fmt.Errorf("%w: the line is too slow, queue full", ErrOffline)
	}
	return nil
}

// Online tells whether there is a connection to the broker.
func (d *Device) Online() bool { return d.wire.Load() != nil }

// PublishEvent sends a sealed event (QoS 1) and waits until the broker has
// acknowledged it. Keeping events until then is the caller's.
func (d *Device) PublishEvent(ctx context.Context, payload []byte) error {
	w := d.wire.Load()
	if w == nil {
		return fmt.Errorf("publishing an event: %w", ErrOffline)
	}
	token, err := w.publish(cloud.TopicEvent(d.cfg.Serial), 1, false, payload)
	if err == nil {
		err = w.await(ctx, token)
	}
	if err != nil {
		return fmt.Errorf("publishing an event: %w", err)
	}
	return nil
}

// errMoved ends a session whose place is elsewhere.
var errMoved = errors.New("another broker is the right one")

// Move ends the connection in order and connects anew at once, to the broker that
// DeviceConfig.Choose then names.
func (d *Device) Move() {
	select {
	case d.move <- struct{}{}:
	default:
	}
}

// RefreshPresence publishes the presence anew, after the binding has changed.
func (d *Device) RefreshPresence() {
	select {
	case d.refresh <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (d *Device) Stats() DeviceStats {
	var st DeviceStats
	st.InboxWaiting, st.InboxWaitBytes, st.InboxDropped = d.in.state()
	_, _, st.OutboxDropped = d.out.state()
	st.Ignored = d.ignored.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	st.Connects, st.LastError = d.connects, d.lastErr
	return st
}
