package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"iid2secure.nl/camagent/cloud"
)

// Times of one connection.
const (
	connectTimeout = 15 * time.Second
	keepAlive      = 30 * time.Second
	pingTimeout    = 10 * time.Second
	ackTimeout     = 15 * time.Second // for the broker's word on a subscription or a QoS 1 message
	goodbyeTimeout = 2 * time.Second
)

// wireConfig is what a connection needs to know.
type wireConfig struct {
	broker   string
	tls      *tls.Config
	clientID string
	will     string // topic of a retained "offline"; empty: none
	receive  func(topic string, payload []byte, retained bool)
}

// wire is one connection, used once: the client library's clients must not be
// used again after Disconnect. receive is called from one goroutine of the
// library and must only enqueue: nothing else runs while it blocks.
type wire struct {
	cfg    wireConfig
	client mqtt.Client
	lost   chan struct{} // closed when the connection has ended by itself

	mu    sync.Mutex
	guard *guard
	dial  error // why no connection came to be, in full
	why   error // set before lost is closed
}

// tlsConfig enforces what P4 promises.
func tlsConfig(broker string, c *tls.Config) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(broker)
	switch {
	case err != nil || host == "":
		return nil, fmt.Errorf("broker address %q is not of the form host:port", broker)
	case c == nil || c.RootCAs == nil:
		return nil, errors.New("broker: no root certificates of its own are configured")
	case c.InsecureSkipVerify:
		return nil, errors.New("broker: certificate checks cannot be switched off")
	case len(c.Certificates) == 0 && c.GetClientCertificate == nil:
		return nil, errors.New("broker: a client certificate is needed")
	}
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c, nil
}

// openWire connects, within ctx and connectTimeout.
func openWire(ctx context.Context, cfg wireConfig) (*wire, error) {
	w := &wire{cfg: cfg, lost: make(chan struct{})}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	w.client = mqtt.NewClient(w.options(ctx))
	token := w.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		w.cut()
		<-token.Done()
	}
	err := token.Error()
	if err == nil && ctx.Err() != nil { // both at once: the connection may be cut already
		w.goodbye()
		err = ctx.Err()
	}
	if err != nil {
		w.cut()
		return nil, w.connectError(ctx, err)
	}
	return w, nil
}

func (w *wire) options(ctx context.Context) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().
		AddBroker("ssl://" + w.cfg.broker).
		SetClientID(w.cfg.clientID).
		SetProtocolVersion(4). // else a missing answer costs the time-out twice
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetKeepAlive(keepAlive).
		SetPingTimeout(pingTimeout).
		SetConnectTimeout(connectTimeout).
		SetWriteTimeout(writeTimeout).
		SetOrderMatters(true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { w.end(err) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			w.cfg.receive(m.Topic(), m.Payload(), m.Retained())
		})
	if w.cfg.will != "" {
		o.SetWill(w.cfg.will, "offline", 1, true)
	}
	return o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return w.open(ctx) })
}

// open makes the TLS connection; proxies of the environment are not for cameras.
func (w *wire) open(ctx context.Context) (net.Conn, error) {
	d := tls.Dialer{Config: w.cfg.tls}
	conn, err := d.DialContext(ctx, "tcp", w.cfg.broker)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dial = err
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		conn.Close()
		return nil, ctx.Err()
	}
	w.guard = &guard{Conn: conn}
	return w.guard, nil
}

// end notes why the connection was lost.
func (w *wire) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guard != nil {
		if first := w.guard.failure(); first != nil {
			err = first
		}
	}
	if w.why == nil {
		w.why = fmt.Errorf("broker %s: %w: connection lost: %w", w.cfg.broker, ErrOffline, err)
		close(w.lost)
	}
}

// reason is set once lost is closed.
func (w *wire) reason() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

// cut closes the socket without a word. The library takes a close by its own
// side for intended and does not end by it: goodbye must follow or come before.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.guard != nil {
		w.guard.Close()
	}
}

// goodbye ends the connection in order.
func (w *wire) goodbye() {
	w.client.Disconnect(uint(goodbyeTimeout / time.Millisecond))
	w.cut()
}

// connectError says in one line what is wrong, and of which kind it is.
func (w *wire) connectError(ctx context.Context, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind := ErrOffline
	switch {
	case w.dial != nil:
		kind, err = dialKind(w.dial), w.dial
	case ctx.Err() != nil:
		err = errors.New("no answer in time")
	case errors.Is(err, packets.ErrorRefusedNotAuthorised), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword),
		errors.Is(err, packets.ErrorRefusedIDRejected):
		kind = ErrRefused
	case w.guard != nil && w.guard.failure() != nil:
		err = w.guard.failure()
		kind = closedKind(err)
	}
	return fmt.Errorf("broker %s: %w: %w", w.cfg.broker, kind, err)
}

// dialKind sorts a failure of TCP or of the TLS handshake.
func dialKind(err error) error {
	var op *net.OpError
	var header tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert), errors.As(err, &header):
		return ErrUntrusted
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		// The broker's word on our certificate comes later in TLS 1.3: this is
		// about versions and algorithms.
		return ErrUntrusted
	case errors.As(err, &op), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, io.EOF):
		return ErrOffline
	}
	return ErrUntrusted
}

// closedKind sorts an end between the TLS handshake and the broker's answer to
// our connect: there a broker speaks about certificates, or just hangs up.
func closedKind(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return ErrRefused
	}
	return ErrOffline
}

// subscribe asks for one filter, so that the answer has one code (see guard).
func (w *wire) subscribe(ctx context.Context, filter string, qos byte) error {
	token := w.client.Subscribe(filter, qos, nil).(*mqtt.SubscribeToken)
	if err := w.await(ctx, token); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	if code := token.Result()[filter]; code > 2 {
		return fmt.Errorf("broker %s: %w: subscription denied", w.cfg.broker, ErrRefused)
	}
	return nil
}

// await waits for the broker's acknowledgement.
func (w *wire) await(ctx context.Context, token mqtt.Token) error {
	t := time.NewTimer(ackTimeout)
	defer t.Stop()
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return fmt.Errorf("%w: %w", ErrOffline, err)
		}
		return nil
	case <-w.lost:
		return w.reason()
	case <-t.C:
		return fmt.Errorf("broker %s: %w: no acknowledgement within %v", w.cfg.broker, ErrOffline, ackTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish hands a message to the library; the token tells when it is through.
func (w *wire) publish(topic string, qos byte, retained bool, payload []byte) (mqtt.Token, error) {
	if len(payload) > cloud.MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), cloud.MaxMessage)
	}
	if !w.client.IsConnectionOpen() {
		return nil, ErrOffline
	}
	return w.client.Publish(topic, qos, retained, payload), nil
}
