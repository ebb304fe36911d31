// Package cloud is the vocabulary that camera, owner's app and cloud share:
// names, topics, message types, permissions, and the types of what must not be
// shown. It holds no logic but parsing and printing, and imports nothing of the
// project. Its sub-packages do the work: identity (who a device is), bind
// (pairing, roster), channel (end-to-end sessions), link (MQTT), site (which of
// several brokers), clock (what time it is), seal (age, JWS), spool (the card),
// upload, api (the apps' HTTPS), durable and retry.
package cloud

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Crockford is the alphabet of serials and codes: base32 without I, L, O, U.
const Crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// normalise upper-cases, drops dashes and spaces, and reads O as 0, I and L as 1.
func normalise(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == ' ':
			return -1
		case r == 'o' || r == 'O':
			return '0'
		case r == 'i' || r == 'I' || r == 'l' || r == 'L':
			return '1'
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// Serial names a camera: 13 random Crockford symbols and a check symbol (Luhn
// mod 32). It prints masked (7K***2) everywhere; Plain is for topics, file
// names and what the owner asked for. P8.
type Serial string

// Plain returns the whole serial.
func (s Serial) Plain() string { return string(s) }

func (s Serial) String() string {
	if len(s) < 6 {
		return "***"
	}
	return string(s[:2]) + "***" + string(s[len(s)-1:])
}

// Format masks the serial for every verb, %s and %q included.
func (s Serial) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// NewSerial makes a random serial.
func NewSerial() Serial {
	s := randomSymbols(13)
	return Serial(s + string(Crockford[luhn(s)]))
}

// ParseSerial reads a serial as a person types it.
func ParseSerial(text string) (Serial, error) {
	s := normalise(text)
	if len(s) != 14 {
		return "", fmt.Errorf("serial: %d symbols, want 14", len(s))
	}
	for i, c := range s {
		if !strings.ContainsRune(Crockford, c) {
			return "", fmt.Errorf("serial: symbol %d is not one of %s", i+1, Crockford)
		}
	}
	if s[13] != Crockford[luhn(s[:13])] {
		return "", errors.New("serial: the check symbol does not fit: mistyped?")
	}
	return Serial(s), nil
}

// luhn computes the check value of symbols that are known to be valid (Luhn mod N, N = 32).
func luhn(s string) int {
	sum, factor := 0, 2
	for i := len(s) - 1; i >= 0; i-- {
		add := factor * strings.IndexByte(Crockford, s[i])
		sum += add/32 + add%32
		factor = 3 - factor
	}
	return (32 - sum%32) % 32
}

func randomSymbols(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = Crockford[b[i]&31]
	}
	return string(b)
}

// NewCode makes a verification code: 16 random symbols, 80 bits.
func NewCode() Secret { return NewSecret(randomSymbols(16)) }

// ParseCode reads a verification code as a person types it. Its errors never
// repeat what was typed.
func ParseCode(text string) (Secret, error) {
	s := normalise(text)
	if len(s) != 16 {
		return Secret{}, fmt.Errorf("verification code: %d symbols, want 16", len(s))
	}
	for i, c := range s {
		if !strings.ContainsRune(Crockford, c) {
			return Secret{}, fmt.Errorf("verification code: symbol %d is not one of %s", i+1, Crockford)
		}
	}
	return NewSecret(s), nil
}

// Token returns n random bytes as lower-case base32: for ids, credentials, names.
func Token(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// Permission is one thing a member may do.
type Permission string

// The permissions of the roster.
const (
	Live    Permission = "live"
	Clips   Permission = "clips"
	Control Permission = "control"
	Talk    Permission = "talk"
	Alarms  Permission = "alarms"
	Admin   Permission = "admin"
)

// AllPermissions lists them in the order in which they are shown.
func AllPermissions() []Permission {
	return []Permission{Live, Clips, Control, Talk, Alarms, Admin}
}

// Topics of one camera (docs/protocol.md).
const topicRoot = "cam/1/"

// TopicIn is where app client writes to the camera.
func TopicIn(s Serial, client string) string { return topicRoot + s.Plain() + "/in/" + client }

// TopicOut is where the camera answers app client.
func TopicOut(s Serial, client string) string { return topicRoot + s.Plain() + "/out/" + client }

// TopicStatus carries presence (retained, and the last will).
func TopicStatus(s Serial) string { return topicRoot + s.Plain() + "/status" }

// TopicEvent carries sealed events.
func TopicEvent(s Serial) string { return topicRoot + s.Plain() + "/event" }

// TopicAsk is where the camera asks its cloud.
func TopicAsk(s Serial) string { return topicRoot + s.Plain() + "/ask" }

// TopicAnswer is where its cloud answers.
func TopicAnswer(s Serial) string { return topicRoot + s.Plain() + "/answer" }

// SplitTopic takes a topic apart: kind is "in", "out", "status", "event",
// "ask" or "answer"; client is set for in and out.
func SplitTopic(topic string) (serial Serial, kind, client string, err error) {
	rest, ok := strings.CutPrefix(topic, topicRoot)
	p := strings.Split(rest, "/")
	if !ok || len(p) < 2 || len(p) > 3 {
		return "", "", "", fmt.Errorf("topic %q is not of the form %s<serial>/<kind>", topic, topicRoot)
	}
	if len(p) == 3 {
		client = p[2]
	}
	if needs := p[1] == "in" || p[1] == "out"; needs != (client != "") {
		return "", "", "", fmt.Errorf("topic kind %q: client missing or not allowed", p[1])
	}
	return Serial(p[0]), p[1], client, nil
}

// ValidClient tells whether id can be the client id of an app: 1 to 64 of a-z, 0-9, dash.
func ValidClient(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// MaxMessage is the largest MQTT message, in bytes, that a camera takes or sends.
const MaxMessage = 64 << 10

// Conn is one app's conversation with one camera: whole messages, in order,
// over MQTT or a local TCP connection. It carries pairing and session messages
// and promises neither delivery nor secrecy. One goroutine sends, one receives.
type Conn interface {
	Send(ctx context.Context, msg []byte) error
	Receive(ctx context.Context) ([]byte, error)
}

// Ask is a camera's request to its cloud, JSON on the ask topic.
type Ask struct {
	V    int             `json:"v"` // 1
	ID   string          `json:"id"`
	Kind string          `json:"kind"` // AskGrant, AskReceipt
	Body json.RawMessage `json:"body"`
}

// The kinds of Ask.
const (
	AskGrant   = "grant"   // body GrantRequest, answer Grant
	AskReceipt = "receipt" // body ReceiptNotice, answer empty
)

// Answer is the cloud's reply, JSON on the answer topic. Error is empty on
// success; Final says that the same request will be refused again.
type Answer struct {
	V     int             `json:"v"`
	ID    string          `json:"id"`
	Error string          `json:"error,omitempty"`
	Final bool            `json:"final,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// GrantRequest asks to store one sealed object.
type GrantRequest struct {
	Key    string `json:"key"` // see ObjectKey
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// Request is a presigned HTTP request: send exactly these headers.
type Request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
}

// Grant lets the camera put one object, and look whether it is there.
type Grant struct {
	Put     Request `json:"put"`
	Head    Request `json:"head"`
	Expires int64   `json:"expires"` // Unix seconds
}

// ReceiptNotice hands the cloud the signed receipt of a binding, together with
// the device's certificate chain (PEM), by which the cloud checks the key.
type ReceiptNotice struct {
	Receipt string `json:"receipt"` // JWS compact, typ TypReceipt
	Chain   string `json:"chain"`
	Token   string `json:"token"` // the claim token whose hash the receipt holds
}

// ObjectKey is where an object of a binding lies in the bucket:
// <serial>/<bind id>/<name>. The serial is the device's own prefix.
func ObjectKey(s Serial, bindID, name string) string {
	return s.Plain() + "/" + bindID + "/" + name
}

// Statement is what every signed payload begins with.
type Statement struct {
	V      int    `json:"v"` // 1
	Serial Serial `json:"serial"`
	Epoch  uint64 `json:"epoch"`
	BindID string `json:"bind_id"` // 16 bytes, hex
}

// Exact protected "typ" values, one a kind of statement. S10.
const (
	TypReceipt  = "iid2-receipt+jws"
	TypManifest = "iid2-manifest+jws"
	TypGap      = "iid2-gap+jws"
	TypPresence = "iid2-presence+jws"
)

// Receipt is the camera's signed word that it now belongs to an owner.
type Receipt struct {
	Statement
	Owner     string `json:"owner"`     // SHA-256 of the owner's Noise public key, hex
	Recipient string `json:"recipient"` // SHA-256 of the owner's age recipient text, hex
	Token     string `json:"token"`     // SHA-256 of the claim token, hex; empty without a cloud
	Time      int64  `json:"time"`      // Unix seconds
}

// Presence is the retained, signed "online" on the status topic.
type Presence struct {
	Statement
	Online   bool   `json:"online"`
	Sequence uint64 `json:"sequence"`
	// Heads are those of the chains, by stream, as of then: nothing up to there may be missing.
	Heads map[string]ChainHead `json:"heads,omitempty"`
}

// ChainHead is the newest statement of a stream's chain.
type ChainHead struct {
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"` // SHA-256 of its compact text, hex
}

// Manifest is the signed statement about one clip. One chain per epoch and stream.
type Manifest struct {
	Statement
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"` // from 1
	Name     string `json:"name"`     // without endings
	Size     int64  `json:"size"`     // of the sealed file
	SHA256   string `json:"sha256"`   // of the sealed file, hex
	Prev     string `json:"prev"`     // SHA-256 of the previous manifest's compact text, hex; empty for the first
	Details  []byte `json:"details"`  // age file of a JSON ClipDetails
}

// ClipDetails is what only members with the clips permission may know.
type ClipDetails struct {
	Boot       string `json:"boot"`
	Started    string `json:"started"` // RFC 3339, milliseconds, UTC
	DurationMS int64  `json:"duration_ms"`
	Frames     int    `json:"frames"`
	FirstFrame uint64 `json:"first_frame"` // frame number in its stream since boot
	LastFrame  uint64 `json:"last_frame"`
	UptimeMS   int64  `json:"uptime_ms"`       // when it started, since boot: by it clips of one boot are dated once the clock is right
	Trigger    string `json:"trigger"`         // "continuous", "schedule", "command", "motion"
	Event      string `json:"event,omitempty"` // id that all clips of one event share
	Cut        bool   `json:"cut,omitempty"`
	Clock      Clock  `json:"clock"`
}

// Gap is the signed statement that something is not, or not any more, in the
// chain of a stream, and why. It has a number of its own in that chain, as a
// manifest has.
type Gap struct {
	Statement
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"sequence"`
	Name     string    `json:"name"` // without ending
	Prev     string    `json:"prev"`
	Reason   GapReason `json:"reason"`
	Missing  []Span    `json:"missing,omitempty"` // numbers of the chain that are given up; none: nothing was recorded
	Details  []byte    `json:"details"`           // age file of a JSON GapDetails
}

// Span is a run of numbers; both ends belong to it.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// GapDetails is what only members with the clips permission may know.
type GapDetails struct {
	Boot       string `json:"boot"`
	From       string `json:"from"` // RFC 3339, milliseconds, UTC
	To         string `json:"to"`
	FirstFrame uint64 `json:"first_frame,omitempty"` // frames that were to be recorded and were not
	LastFrame  uint64 `json:"last_frame,omitempty"`
	Clock      Clock  `json:"clock"`
}

// GapReason is why something is missing.
type GapReason string

// The reasons.
const (
	GapRetention GapReason = "retention" // given up for newer ones before the store had it: the card's limits
	GapCard      GapReason = "card"      // nothing could be recorded: the card is full, gone, read-only or too slow
	GapCut       GapReason = "cut"       // power was cut between the signature and the card
	GapOff       GapReason = "off"       // the owner has switched recording off
	GapLost      GapReason = "lost"      // the card no longer held it, and was not told to give it up: it failed, or was robbed
)

// Clock says how far the wall-clock of a statement can be trusted.
type Clock struct {
	Synced        bool  `json:"synced"`
	UncertaintyMS int64 `json:"uncertainty_ms,omitempty"`
}

// Command is a member's request inside a session (JSON).
type Command struct {
	V        int             `json:"v"`
	ID       string          `json:"id"`       // the client's; the same id gets the stored reply
	Seq      uint64          `json:"seq"`      // strictly rising in a session
	Deadline int64           `json:"deadline"` // device uptime in ms after which it is refused; 0 only in handshake message 3
	Name     string          `json:"name"`
	Args     json.RawMessage `json:"args,omitempty"`
}

// Reply answers a Command; the first of a session may have an empty ID (the welcome).
type Reply struct {
	V      int             `json:"v"`
	ID     string          `json:"id"`
	Uptime int64           `json:"uptime"` // ms
	Error  *Refusal        `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Refusal is an error that crosses the wire: a code for programs, a line for people.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r *Refusal) Error() string { return r.Message }

// The codes of refusals.
const (
	CodeUnknown    = "unknown_command"
	CodeArgument   = "bad_argument"
	CodePermission = "not_permitted"
	CodeUnable     = "unsupported" // the board lacks it
	CodeLate       = "late"        // past its deadline, or overtaken
	CodeFailed     = "failed"
	CodeBusy       = "busy"
)

// Refuse makes a Refusal; its message becomes one line.
func Refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: OneLine(fmt.Sprintf(format, args...))}
}
