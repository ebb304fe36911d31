package link

import (
	"context"
	"crypto/tls"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// AppConfig says where the broker is and who the app is.
type AppConfig struct {
	Broker   string      // host:port
	TLS      *tls.Config // client certificate and root pool, both required; TLS 1.3 is enforced
	ClientID string      // cloud.ValidClient; the common name of the certificate
	Log      *zap.Logger
}

// App is one connection of an owner's app to a broker, for any number of
// cameras. It does not reconnect: when it is lost, every Receive says
// ErrOffline, and the caller dials again. Safe for concurrent use.
type App struct{ appState }

// DialApp connects, within ctx. Errors are one clear line: ErrOffline (nobody
// there), ErrUntrusted (wrong CA, name or date), ErrRefused (our certificate).
func DialApp(ctx context.Context, cfg AppConfig) (*App, error) { return dialApp(ctx, cfg) }

// Conn opens the conversation with one camera; one at a time per camera.
func (a *App) Conn(ctx context.Context, serial cloud.Serial) (*AppConn, error) {
	return a.conn(ctx, serial)
}

// Status yields the payloads of the camera's status topic, retained one first;
// only the newest is kept for a slow reader. The channel is closed when the
// connection ends.
func (a *App) Status(ctx context.Context, serial cloud.Serial) (<-chan []byte, error) {
	return a.status(ctx, serial)
}

// Done is closed when the connection has ended.
func (a *App) Done() <-chan struct{} { return a.done }

// Close ends the connection and all its Conns.
func (a *App) Close() error { return a.close() }

// AppConn is a cloud.Conn over MQTT. Its receive queue holds at most 64
// messages and 1 MiB; newer ones are dropped while it is full.
type AppConn struct{ connState }

var _ cloud.Conn = (*AppConn)(nil)

// Send publishes msg to the camera; it returns when the message is on the wire.
func (c *AppConn) Send(ctx context.Context, msg []byte) error { return c.send(ctx, msg) }

// Receive waits for the camera's next message; ErrOffline when the connection
// has ended.
func (c *AppConn) Receive(ctx context.Context) ([]byte, error) { return c.receive(ctx) }

// Close ends the conversation; the App goes on.
func (c *AppConn) Close() error { return c.close() }
