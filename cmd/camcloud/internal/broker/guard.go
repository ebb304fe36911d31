package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"iid2secure.nl/camagent/cloud"
)

// Time that a peer has. A keep-alive of nothing is taken as the longest.
const (
	handshakeTime = 10 * time.Second // for TLS and CONNECT together
	writeTime     = 30 * time.Second // for one write to it
	longestAlive  = 20 * 60          // seconds
)

// Messages a second that one connection may send, and at once. Faster ones are
// not dropped but read later.
const (
	packetRate  = 500
	packetBurst = 1000
)

// guard stands between one connection and the broker. The broker's engine
// neither ties a client id to a certificate nor bounds the size of what it
// reads, and keeps whatever anybody marks as retained; the guard does, and
// hands on the rest unread. S4, R6.
type guard struct {
	b    *Broker
	conn *tls.Conn
	peer peer
	in   *packets
	log  *zap.Logger
}

// serve lives as long as one connection. It closes conn.
func (b *Broker) serve(ctx context.Context, conn net.Conn) {
	g := &guard{b: b, conn: tls.Server(conn, b.tls), log: b.opt.Log}
	defer g.conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(handshakeTime))
	hello, err := g.admit(ctx)
	if err != nil {
		g.log.Info("broker: connection refused", zap.String("from", conn.RemoteAddr().String()), zap.Error(err))
		return
	}
	conn.SetDeadline(time.Time{})
	g.log = g.log.With(zap.String("peer", g.peer.masked()))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer b.join(g.peer, cancel)()
	stop = context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	g.log.Info("broker: connected")
	g.log.Info("broker: disconnected", zap.NamedError("why", g.relay(ctx, hello)))
}

// admit does the handshake and reads CONNECT; what it refuses it has answered.
func (g *guard) admit(ctx context.Context) (connect, error) {
	if err := g.conn.HandshakeContext(ctx); err != nil {
		return connect{}, err
	}
	var err error
	if g.peer, err = g.b.identify(g.conn.ConnectionState().VerifiedChains[0]); err != nil {
		return connect{}, err
	}
	g.in = newPackets(g.conn)
	p, err := g.in.next()
	if err != nil {
		return connect{}, err
	}
	if p.kind() != typeConnect {
		return connect{}, errors.New("first packet is not CONNECT")
	}
	c, err := parseConnect(p.body)
	if err != nil {
		return connect{}, err
	}
	if code, err := g.check(c); err != nil {
		g.conn.Write([]byte{0x20, 2, 0, code}) // CONNACK
		return connect{}, err
	}
	if c.keepAlive == 0 || c.keepAlive > longestAlive {
		c.keepAlive = longestAlive
	}
	return c, nil
}

// check holds a CONNECT against the certificate.
func (g *guard) check(c connect) (code byte, err error) {
	switch {
	case c.level != 4:
		return codeProtocol, fmt.Errorf("MQTT level %d, want 4 (3.1.1)", c.level)
	case !g.peer.mayUse(c.id):
		return codeIdentifier, errors.New("client id is not the certificate's name")
	case c.will() && (!g.peer.mayRetain(c.topic) || c.willQoS() > 1 || len(c.message) > cloud.MaxMessage):
		return codeDenied, errors.New("will outside the own status topic")
	}
	return 0, nil
}

// relay passes packets between the connection and the engine until one of them ends.
func (g *guard) relay(ctx context.Context, hello connect) error {
	user, password := g.b.engine.ticket(g.peer.permissions(hello.id))
	defer g.b.engine.withdraw(password)
	engine, err := (&net.Dialer{Timeout: handshakeTime}).DialContext(ctx, "tcp", g.b.engine.addr)
	if err != nil {
		return fmt.Errorf("broker's engine: %w", err)
	}
	defer engine.Close()
	if _, err := engine.Write(hello.marshal(user, password)); err != nil {
		return err
	}
	down := make(chan error, 1)
	go func() {
		_, err := io.Copy(g.writer(), engine)
		g.conn.Close() // wakes the reading side
		down <- err
	}()
	up := g.forward(ctx, engine, hello)
	engine.Close()
	if err := <-down; err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return up
}

// forward passes packets from the connection to the engine.
func (g *guard) forward(ctx context.Context, engine net.Conn, hello connect) error {
	limit := rate.NewLimiter(packetRate, packetBurst)
	alive := time.Duration(hello.keepAlive) * time.Second * 3 / 2
	for {
		g.conn.SetReadDeadline(g.deadline(alive))
		p, err := g.in.next()
		if err != nil {
			return err
		}
		if err := g.inspect(p); err != nil {
			return err
		}
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		g.b.captured(p.raw)
		if _, err := engine.Write(p.raw); err != nil {
			return err
		}
		if p.kind() == typeDisconnect {
			return nil
		}
	}
}

func (g *guard) deadline(alive time.Duration) time.Time {
	t := time.Now().Add(alive)
	if u := g.peer.until; !u.IsZero() && u.Before(t) {
		return u
	}
	return t
}

// inspect refuses what the engine must not see, and takes away a retain flag
// that is not presence.
func (g *guard) inspect(p packet) error {
	switch p.kind() {
	case typeConnect:
		return errors.New("a second CONNECT")
	case typePublish:
		m, err := parsePublish(p)
		if err != nil {
			return err
		}
		if m.qos > 1 {
			return errors.New("QoS 2 is not served")
		}
		if m.payload > cloud.MaxMessage {
			return fmt.Errorf("message of %d bytes, at most %d are taken", m.payload, cloud.MaxMessage)
		}
		if m.retain && !g.peer.mayRetain(m.topic) {
			p.raw[0] &^= 1
		}
	}
	return nil
}

// writer gives each write to the connection its time: a peer that doesn't read
// is dropped.
func (g *guard) writer() io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		g.b.captured(b)
		g.conn.SetWriteDeadline(time.Now().Add(writeTime))
		return g.conn.Write(b)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (p peer) masked() string {
	if p.serial != "" {
		return p.serial.String()
	}
	return p.id
}

// serverTLS is the broker's side of TLS: 1.3, a client certificate from the
// factory or from our own authority of apps, verified anew at each connection. P4.
func serverTLS(o Options) *tls.Config {
	roots := o.Devices.Clone()
	roots.AddCert(o.Apps)
	return &tls.Config{
		Certificates:           []tls.Certificate{o.Certificate},
		ClientCAs:              roots,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
	}
}
