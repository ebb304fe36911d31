package rtsp

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"
)

var errNoCertificate = errors.New("RTSPS needs a certificate")

// tlsConfig is that of all connections to TLSAddress.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              s.cfg.Certificate,
		DynamicRecordSizingDisabled: true, // or the first frames would be cut into very many records
	}
}

// wire is the TCP below a TLS connection, which writes when it is read from,
// too. Deadlines are set by conn, here for writes and by mayIdle for reads.
type wire struct {
	*net.TCPConn
	c *conn
}

func (w wire) Write(b []byte) (int, error) {
	if err := w.c.renew(); err != nil {
		return 0, err
	}
	return w.TCPConn.Write(b)
}

func (wire) SetDeadline(time.Time) error      { return nil }
func (wire) SetReadDeadline(time.Time) error  { return nil }
func (wire) SetWriteDeadline(time.Time) error { return nil }

// handshake lasts no longer than LoginTimeout allows.
func (c *conn) handshake() error {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	err := t.Handshake()
	if err != nil {
		c.srv.count.handshakes.Add(1)
		c.srv.slowLog(&c.srv.handshakeLog, "RTSPS connection ended without a handshake", zap.Stringer("address", c.RemoteAddr()), zap.Error(err))
	}
	return err
}

// part says the end of a TLS connection to its peer, if that takes it at once,
// behind what is being written.
func (c *conn) part() {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return
	}
	c.parting.Store(true)
	c.hurry()
	c.mu.Lock() // whoever has it is done by that time
	defer c.mu.Unlock()
	_ = t.Close()
}

// hurry ends a write that lasts.
func (c *conn) hurry() {
	_ = c.raw.SetWriteDeadline(time.Now().Add(partingTime)) // fails on a closed connection only
}
