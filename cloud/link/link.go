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
	Reason string // the cloud's words, cut to 200 printable characters
	Final  bool   // the same request will be refused again
}

func (e *AskError) Error() string { return "the cloud refuses: " + e.Reason }

// Permanent tells whether to ask again is in vain.
func (e *AskError) Permanent() bool { return e.Final }

// DeviceConfig says where the broker is and who the camera is.
type DeviceConfig struct {
	Broker string      // host:port
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

// Device is the camera's end. Its methods may be called from any goroutine;
// Run must be running for anything to happen.
type Device struct{ deviceState }

// NewDevice checks cfg and starts nothing.
func NewDevice(cfg DeviceConfig) (*Device, error) { return newDevice(cfg) }

// Run connects and reconnects (full jitter, 1 s doubling to 5 minutes, reset
// after a minute of stable connection) until ctx ends; then it says goodbye to
// the broker and returns nil.
func (d *Device) Run(ctx context.Context) error { return d.run(ctx) }

// Inbox yields the messages of apps in the order of arrival. It holds at most
// 64 messages and 1 MiB; newer ones are dropped while it is full. It is never
// closed.
func (d *Device) Inbox() <-chan Message { return d.in.out }

// Send queues msg for the app with the client id client. It never blocks;
// delivery is not promised: while offline, or with the queue full, msg is
// dropped and counted, and the error says so (ErrOffline, ErrTooLarge).
func (d *Device) Send(client string, msg []byte) error { return d.send(client, msg) }

// Ask sends the cloud a request of the kind and waits for the answer, which it
// unmarshals into answer (may be nil). At most 30 s, shorter if ctx ends.
// Errors: ErrOffline (also when the connection ends meanwhile), *AskError, the
// context's.
func (d *Device) Ask(ctx context.Context, kind string, body, answer any) error {
	return d.ask(ctx, kind, body, answer)
}

// Online tells whether there is a connection to the broker.
func (d *Device) Online() bool { return d.online.Load() }

// PublishEvent sends a sealed event (QoS 1) and waits until the broker has
// acknowledged it. Keeping events until then is the caller's.
func (d *Device) PublishEvent(ctx context.Context, payload []byte) error {
	return d.publishEvent(ctx, payload)
}

// RefreshPresence publishes the presence anew, after the binding has changed.
func (d *Device) RefreshPresence() { d.refreshPresence() }

// Stats returns the counters.
func (d *Device) Stats() DeviceStats { return d.stats() }
