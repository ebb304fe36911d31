package channel

import (
	"context"
	"errors"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// ClientConfig is what an app knows of a camera, and of itself.
type ClientConfig struct {
	Serial   cloud.Serial
	Epoch    uint64
	BindID   string
	ClientID string           // by which the carrier knows this app
	Static   identity.KeyPair // the member's Noise key
	Device   []byte           // the camera's Noise public key, pinned at pairing
}

// Client is an app's session with one camera. Calls may be made from any goroutine.
type Client struct{ cfg ClientConfig }

// Dial opens a session and returns when the camera has confirmed it. It tries
// until ctx ends; the error then wraps ctx's. A key that is no member (any more)
// gets a *cloud.Refusal. ctx bounds only the opening.
func Dial(ctx context.Context, conn cloud.Conn, cfg ClientConfig) (*Client, error) {
	return nil, errors.New("channel: not there yet")
}

// Call runs one command on the camera: args is marshalled, the reply's result
// is decoded into result (nil: ignored). What the camera refuses is a
// *cloud.Refusal. On silence the same command, by the same id, is sent again
// every 3 s until ctx ends; it never runs twice. When the session is lost or has
// aged, a new one is made on the way. The camera does not begin a command after
// ctx's deadline.
func (c *Client) Call(ctx context.Context, name string, args, result any) error {
	return errors.New("channel: not there yet")
}

// Close ends the client, its goroutine and the calls that wait; the camera is
// told nothing. It does not close the Conn.
func (c *Client) Close() error { return nil }
