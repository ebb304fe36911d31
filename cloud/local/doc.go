// Package local carries the sessions of members over TCP on the local network,
// for when broker and cloud are away. It is a carrier as the broker is one, and
// trusted with nothing: what it carries are the messages of package channel,
// each in a frame. It never looks into them but for the first byte of those that
// the camera sends, by which it knows connections whose client has shown who it
// is. Pairing does not go over it.
//
// # On the wire
//
// A frame is a length (4 bytes, big-endian, 1 to 65,536) and so many bytes. The
// app connects and sends a hello, which is never answered:
//
//	"iid2/local/1 " client
//
// client is "lan-" and 26 of a-z, 2-7, random for each connection: it takes the
// place of the id by which a broker knows an app, and clients of brokers are
// never mistaken for those of this carrier, nor the other way round. Then come
// messages, one a frame, both ways. What breaks a rule ends the connection,
// without a word.
//
// # Limits
//
// The camera listens while it is bound. A connection has 10 s to say hello and to
// have the camera speak in a session with it, with at most 16 frames of at most
// 4 KiB; what has not come so far is ended. Of such frames 50 a second are looked
// at, of all connections together, first come, first served. At most 32 connections; one more
// makes an old one give way: of those that have shown nothing, that of the
// address that has most of them, else the one longest without a message. What
// waits to be sent is bounded to 2 MiB a connection and 8 MiB in all; who does not
// read for 10 s, or lets more pile up, is dropped, as is who says nothing for 5
// minutes.
//
// # Found by name
//
// The camera answers DNS-SD (RFC 6763) over multicast DNS (RFC 6762) for service
// _iid2._tcp, under the name [Name], which those who know its binding can work
// out, and which tells others nothing but that it is the camera they saw before.
package local

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"iid2secure.nl/camagent/cloud"
)

// Service is the DNS-SD service type.
const Service = "_iid2._tcp"

// DefaultPort is where cameras listen unless they are configured otherwise.
const DefaultPort = "8555"

const prefix = "lan-"

// Name is the DNS-SD name of the camera with this binding: the first 16 hex
// digits of SHA-256("iid2 local" + bind id).
func Name(bindID string) string {
	sum := sha256.Sum256([]byte("iid2 local" + bindID))
	return hex.EncodeToString(sum[:8])
}

// newClient makes the id of one connection.
func newClient() string { return prefix + cloud.Token(16) }

// IsClient tells whether a client id is of this carrier.
func IsClient(id string) bool {
	return len(id) == len(prefix)+26 && strings.HasPrefix(id, prefix) && cloud.ValidClient(id)
}
