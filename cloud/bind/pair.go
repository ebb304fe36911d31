package bind

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// PairRequest is what an app brings to pair with a camera.
type PairRequest struct {
	QR         identity.QR
	ClientID   string           // by which the carrier knows this app
	Name       string           // of the owner, 1 to 64 bytes
	Owner      identity.KeyPair // the owner's Noise key; only its public half is sent
	Recipient  string           // the owner's age recipient
	ClaimToken cloud.Secret     // zero without a cloud
	Roots      *x509.CertPool   // trusted factories; nil: see identity.VerifyChain
	// Save stores the camera as pending before the camera learns its owner: if
	// the receipt is then lost, opening a session shows whether it was bound. May be nil.
	Save func(Camera) error
}

// Camera is what an owner keeps of a camera.
type Camera struct {
	Serial      cloud.Serial      `json:"serial"`
	Epoch       uint64            `json:"epoch"`
	BindID      string            `json:"bind_id"`
	NoisePublic []byte            `json:"noise"`
	Signing     ed25519.PublicKey `json:"signing"`
	Chain       string            `json:"chain"`
	Receipt     string            `json:"receipt,omitempty"` // empty while pending
}

// What a person who pairs can do something about. All but ErrFingerprint and
// ErrNoAnswer rest on an answer that anybody on the way could have forged.
var (
	ErrWrongCode    = errors.New("the camera refuses the verification code: check it against the label")
	ErrFingerprint  = errors.New("another camera answers, or the label is forged: its key is not the one in the QR")
	ErrWindowClosed = errors.New("the camera's pairing window is closed: press its button, or restart it, and try again")
	ErrAlreadyBound = errors.New("the camera already has an owner, who must unbind it first")
	ErrBusy         = errors.New("the camera is pairing with others: try again in a few seconds")
	ErrNoAnswer     = errors.New("the camera does not answer: is it switched on and connected, and is the serial right?")
	// ErrUnconfirmed comes with a usable Camera: the receipt was lost on the way.
	ErrUnconfirmed = errors.New("the camera has not confirmed the pairing: open a session to see whether it is yours")
)

// Pair binds the camera to its new owner. It gives up after 15 s without an
// answer, or when ctx ends.
func Pair(ctx context.Context, conn cloud.Conn, req PairRequest) (Camera, error) {
	return Camera{}, errors.New("bind: not there yet")
}

// VerifyReceipt checks a camera's receipt and chain, for a cloud that books a
// binding: the chain leads to roots, the receipt is signed by the key in it and
// names the same serial. Epoch, token and account are the caller's to compare.
func VerifyReceipt(receipt, chain string, roots *x509.CertPool) (cloud.Receipt, identity.Device, error) {
	return cloud.Receipt{}, identity.Device{}, errors.New("bind: not there yet")
}
