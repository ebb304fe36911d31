// Package api is what an owner's app and camcloud say to each other over HTTPS:
// the types of the JSON, the table of operations from which both the server's
// routes and the OpenAPI document are made, and a small client.
//
// The cloud is trusted for delivery only: nothing here carries a key, a
// verification code or readable content. The camera never speaks this API.
// The package owns no state but the client's connections, and imports only the
// vocabulary.
package api

import (
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Limits of the wire, in bytes and items. Both sides keep them. R6.
const (
	MaxRequest  = 16 << 10 // a request body
	MaxResponse = 2 << 20  // an answer body
	MaxObjects  = 500      // objects in one page
	MaxName     = 200      // bytes of an object's name
)

// Token is a credential on its way over the wire: it marshals as it is, and
// prints as [redacted]. S8.
type Token string

// Reveal returns the text itself; a caller owes a reason.
func (t Token) Reveal() string { return string(t) }

// Secret wraps it for keeping.
func (t Token) Secret() cloud.Secret { return cloud.NewSecret(string(t)) }

// Format redacts the token for every verb.
func (t Token) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// ClaimRequest asks for a claim token for one camera.
type ClaimRequest struct {
	Serial cloud.Serial `json:"serial"`
}

// Claim is a claim token: for one account and serial, used once, 15 minutes.
// The app hands it to the camera inside the pairing, and the camera's receipt
// names its hash.
type Claim struct {
	Token   Token `json:"token"`
	Expires int64 `json:"expires"` // Unix seconds
}

// Camera is what the cloud knows about one bound camera. Online is a hint: the
// camera's signed presence on its status topic is the fact.
type Camera struct {
	Serial cloud.Serial `json:"serial"`
	Epoch  uint64       `json:"epoch"`
	BindID string       `json:"bind_id"` // 16 bytes, hex
	Bound  int64        `json:"bound"`   // when the cloud booked the binding, Unix seconds
	Online bool         `json:"online"`
}

// CameraList is the account's cameras, sorted by serial.
type CameraList struct {
	Cameras []Camera `json:"cameras"`
}

// ObjectQuery selects a page of a camera's objects; its zero value is the first page.
type ObjectQuery struct {
	Prefix string    // names that begin so
	After  string    // names that sort after this one
	From   time.Time // names whose time is this or later; zero: all
	To     time.Time // names whose time is earlier; zero: all
	Limit  int       // 1 to MaxObjects; 0 means MaxObjects
}

// Object is one sealed object of a camera's present binding.
type Object struct {
	Name     string `json:"name"` // below <serial>/<bind id>/
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // Unix seconds, by the storage's clock
}

// Begin is the name after which the page begins, by After and From.
func (q ObjectQuery) Begin() string {
	if q.From.IsZero() {
		return q.After
	}
	return max(q.After, cloud.ClipTime(q.From))
}

// Past tells whether a name lies behind To, and so does all that follows it.
func (q ObjectQuery) Past(name string) bool { return !q.To.IsZero() && name >= cloud.ClipTime(q.To) }

// ObjectList is one page, in the order of names. Next is what to give as After
// for the next page; empty at the end.
type ObjectList struct {
	Objects []Object `json:"objects"`
	Next    string   `json:"next,omitempty"`
}

// GetRequest asks for leave to read one object.
type GetRequest struct {
	Name string `json:"name"`
}

// Download is a presigned GET: send exactly these headers, before it expires.
type Download struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Expires int64             `json:"expires"` // Unix seconds
	// Offset is where the reader wants to begin, in bytes: a download that was
	// broken off goes on. The grant is for the whole object.
	Offset int64 `json:"-"`
}

// ClientRequest asks for a certificate with which an app may use the broker.
type ClientRequest struct {
	CSR string `json:"csr"` // PKCS #10, PEM, P-256 or Ed25519; its names are ignored
}

// ClientCert is an app's broker certificate. ID is its CN and must be the
// MQTT client id, too.
type ClientCert struct {
	ID      string `json:"id"`
	Chain   string `json:"chain"`   // PEM, leaf first, then the app CA
	Expires int64  `json:"expires"` // Unix seconds
}

// Site tells an app where things are.
type Site struct {
	Broker  string `json:"broker"`  // host:port, MQTT 3.1.1 over TLS 1.3
	Storage string `json:"storage"` // host[:port] of the storage, https
	CA      string `json:"ca"`      // PEM roots of broker, API and storage
}

// Empty is the answer of an operation that has nothing to tell.
type Empty struct{}

// Problem is the body of every answer that is not 2xx.
type Problem struct {
	Error Error `json:"error"`
}

// Error is a refusal: a code for programs, a line for people. Status is the
// HTTP status.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// The codes of Error.
const (
	CodeUnauthorized = "unauthorized" // no account token, or not a valid one
	CodeBadRequest   = "bad_request"
	CodeNotFound     = "not_found" // not there, or not this account's: the same
	CodeMethod       = "method_not_allowed"
	CodeTooLarge     = "too_large"
	CodeLimit        = "limit"       // the account has as many as it may
	CodeUnavailable  = "unavailable" // try again later
	CodeInternal     = "internal"
)
