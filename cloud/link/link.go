// Package link carries messages over MQTT 3.1.1: the camera's side (Device) and
// the app's side (App). It is the only home of the MQTT client.
//
// Every connection is TLS 1.3 with certificate checks on and a client
// certificate (P4). The broker is trusted for delivery only: link hands bytes
// over, authenticates none of them, and never answers one. Whatever a broker
// sends costs bounded memory: packets are checked before the client library
// sees them (guard.go), queues are bounded in number and bytes, and what does
// not fit is dropped and counted (S4, R6).
//
// Topics are those of package cloud. Session messages (in, out) go with QoS 0:
// the sessions above repeat what gets lost, and a late double would only cost
// them a replay check. Asks, answers and presence go with QoS 1.
package link

import (
	"context"
	"crypto/tls"
	"errors"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

// Limits of what is held for a reader that is behind, and for a broker that is.
const (
	inboxCount = 64
	inboxBytes = 1 << 20
)

// The kinds of failure; test with errors.Is.
var (
	// ErrOffline says that there is no connection to the broker now.
	ErrOffline = errors.New("not connected to the broker")
	// ErrRefused says that the broker does not take this client: no or a wrong
	// certificate, or access denied.
	ErrRefused = errors.New("the broker refuses this client")
	// ErrUntrusted says that the broker's certificate did not pass the checks.
	ErrUntrusted = errors.New("the broker's certificate is not trusted")
	// ErrTooLarge says that a message exceeds cloud.MaxMessage.
	ErrTooLarge = errors.New("message too large")
)

// Message is one payload from the app with the client id Client (from in/<client>).
type Message struct {
	Client  string
	Payload []byte
}

// AskError is the cloud's refusal of an Ask.
type AskError struct {
	Reason string // the cloud's words, cut to one line
	Final  bool   // the same request will be refused again
}

func (e *AskError) Error() string { return "the cloud refuses: " + e.Reason }

// Permanent tells whether to ask again is in vain.
func (e *AskError) Permanent() bool { return e.Final }

// DeviceConfig says where the broker is and who the camera is.
type DeviceConfig struct {
	Broker string // host:port
	// Choose, if set, tells before each attempt which broker to try, in place of
	// Broker. It is called from Run's goroutine, as OnChange is.
	Choose func(ctx context.Context) (broker string)
	TLS    *tls.Config // client certificate and root pool, both required; TLS 1.3 is enforced
	Serial cloud.Serial
	// Presence makes the retained payload of the status topic: the signed
	// "online" after each connect, the "offline" of an orderly end. May be nil
	// or return nil: then nothing, and a bare "offline", are published. It is
	// called from Run's goroutine.
	Presence func(online bool) []byte
	// OnChange, if set, is told of every connect (nil) and of every end of a
	// connection (why), from Run's goroutine; it must not block.
	OnChange func(err error)
	Log      *zap.Logger
}

// DeviceStats counts since the start.
type DeviceStats struct {
	Connects       uint64 // successful ones
	InboxDropped   uint64 // messages from apps that found the inbox full
	OutboxDropped  uint64 // messages to apps, offline or queue full
	Ignored        uint64 // retained, unknown topic, unknown answer, malformed
	LastError      error  // why the last connection ended or failed; nil while connected
	InboxWaiting   int
	InboxWaitBytes int
}
