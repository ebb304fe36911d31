// Package channel is the end-to-end session between a member's app and a camera:
// Noise_XK_25519_ChaChaPoly_BLAKE2s over any carrier of messages (MQTT, a local
// TCP connection), and commands and replies inside it. It trusts the carrier
// with nothing: what is forged, replayed, held back, swapped or truncated on the
// way has no effect but silence.
//
// The camera's side is Server, which does no I/O of its own; the app's is
// Client, over a cloud.Conn. Who is a member and what a command does are the
// caller's: the package never looks at names of commands, nor at permissions.
//
// # Messages
//
// The first byte is the type. An id is 8 random bytes chosen by the app, one a
// handshake; it names the session afterwards. Numbers are big-endian.
//
//	0x01–0x0f  pairing (package bind)
//	0x11 id noise1                handshake 1, app → camera, no payload
//	0x12 id noise2                handshake 2, camera → app, no payload
//	0x13 id noise3                handshake 3, app → camera; payload empty or one command (JSON)
//	0x14 id counter(8) ciphertext transport, both ways; the first 17 bytes are associated data, the counter the nonce
//	0x1f id 0…0                   unknown session, camera → app, 32 bytes; not authenticated: a hint
//
// The prologue is the concatenation of "iid2/session/1", serial, epoch (8
// bytes), bind id (text, hex) and client id, each after its length in 2 bytes:
// a message recorded elsewhere, or under an earlier owner, fits nowhere.
//
// A plaintext begins with its kind. Kind 1 is a piece of a JSON message:
//
//	1 number(4) part(2) parts(2) piece
//
// number counts the sender's messages in this session from 0; pieces are at most
// 32 KiB; a message is at most 64 KiB towards the camera (a cloud.Command) and
// 1 MiB towards the app (a cloud.Reply). One message at a time is put together:
// the first piece of a newer number drops an older unfinished one. Other kinds
// are ignored (2 is reserved for sound).
//
// # Rules
//
// A session counts, and replaces another, only after message 3. At most 8
// handshakes are pending, for 10 s each, two of them for one client; the oldest
// gives way, so that recorded first messages can't hold the door. A repeated
// message 1 gets the same answer again. Whatever fails is dropped and never
// tried again with the same state. Of a member there are 4 sessions, in all 16;
// the one longest without use gives way, and only to an authenticated new one.
//
// Counters only rise; the receiver's window is 64 and moves only after
// decryption succeeded. After an hour or 2^20 messages the app makes a new
// handshake. A new session of the same client and member supersedes the old
// one, whose receive key is kept for 10 s, for repeats of commands that are known;
// a new command on it is late. Pending handshakes older than the new session are
// dropped. So a command that the carrier held back can never overtake a later one.
//
// Commands carry a sequence that rises within the session and a deadline in the
// camera's uptime, which every reply tells. The command in message 3 may have
// deadline 0: it is bounded by the 10 s of its handshake. A deadline more than a
// minute ahead is refused. The commands of one session are carried out one after
// the other, in their order.
//
// The camera answers message 3 at once with a reply without id, the welcome, which
// tells its uptime; the riding command's reply follows. To a key that is no
// member's it is a refusal, and there is no session.
//
// Replies are kept by bind id, member, command id and SHA-256 of name and
// arguments: 256 of them, 1 MiB. A repeated id gets the stored reply, or waits for the
// running one; it never runs twice; with other arguments it is refused.
package channel

// The types of messages.
const (
	typeHandshake1 = 0x11
	typeHandshake2 = 0x12
	typeHandshake3 = 0x13
	typeTransport  = 0x14
	typeUnknown    = 0x1f
)

// IsPairing tells whether msg belongs to package bind.
func IsPairing(msg []byte) bool { return len(msg) > 0 && msg[0] >= 0x01 && msg[0] <= 0x0f }

// IsSession tells whether msg, which the camera sends, is of a session, whose
// client has shown its key.
func IsSession(msg []byte) bool { return len(msg) > 0 && msg[0] == typeTransport }
