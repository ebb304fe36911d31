package bind

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/flynn/noise"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
)

const (
	askEvery   = 2 * time.Second
	giveUp     = 15 * time.Second // without an answer to one step
	handshakes = 5                // begun at most, when an answer was spoilt on the way
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
	// It may come together with ErrAlreadyBound, when another app was quicker.
	ErrUnconfirmed = errors.New("the camera has not confirmed the pairing: open a session to see whether it is yours")

	errAgain = errors.New("an answer was spoilt on the way")
)

// pairer is one run of Pair; it lives in one goroutine.
type pairer struct {
	req  PairRequest
	conn cloud.Conn
	id   pairID
	in   noise.Cipher
	out  *noise.CipherState
	peer []byte // the camera's Noise key
}

// Pair binds the camera to its new owner. It gives up after 15 s without an
// answer, or when ctx ends. The error is one of the above, or says what was
// wrong with the request or with the camera's certificate.
func Pair(ctx context.Context, conn cloud.Conn, req PairRequest) (Camera, error) {
	if err := req.check(); err != nil {
		return Camera{}, fmt.Errorf("pairing: %w", err)
	}
	p := &pairer{req: req, conn: conn}
	ready, err := p.meet(ctx)
	if err != nil {
		return Camera{}, fmt.Errorf("pairing: %w", err)
	}
	cam, err := p.verify(ready)
	if err != nil {
		return Camera{}, fmt.Errorf("pairing: %w", err)
	}
	if req.Save != nil {
		if err := req.Save(cam); err != nil {
			return Camera{}, fmt.Errorf("pairing: the camera could not be stored, so it was not bound: %w", err)
		}
	}
	return p.own(ctx, cam)
}

func (r PairRequest) check() error {
	if r.QR.Serial == "" || r.QR.Code.IsZero() {
		return errors.New("no serial and verification code")
	}
	if !cloud.ValidClient(r.ClientID) {
		return errors.New("client id: want 1 to 64 of a-z, 0-9, dash")
	}
	if len(r.ClaimToken.Reveal()) > maxClaim {
		return errors.New("claim token: too long")
	}
	return Member{Name: r.Name, Noise: r.Owner.Public, Recipient: r.Recipient}.check()
}

// meet does the handshake, and again if something forged has spoilt it.
func (p *pairer) meet(ctx context.Context) (inner, error) {
	for range handshakes {
		ready, err := p.handshake(ctx)
		if !errors.Is(err, errAgain) {
			return ready, err
		}
	}
	return inner{}, ErrNoAnswer
}

func (p *pairer) handshake(ctx context.Context) (inner, error) {
	rand.Read(p.id[:])
	// This key is thrown away: the owner's own is told only inside.
	hs, err := newHandshake(true, identity.NewKeyPair(), p.req.QR.Serial, p.req.QR.Code, p.req.ClientID)
	if err != nil {
		return inner{}, err
	}
	msg1, _, _, err := hs.WriteMessage(head(typePair1, p.id), nil)
	if err != nil {
		return inner{}, err
	}
	err = p.ask(ctx, msg1, typePair2, func(m message) error {
		if payload, _, _, err := hs.ReadMessage(nil, m.body); err != nil || len(payload) > 0 {
			return errAgain
		}
		return nil
	})
	if err != nil {
		return inner{}, err
	}
	p.peer = bytes.Clone(hs.PeerStatic())
	if !p.req.QR.Matches(p.peer) {
		return inner{}, ErrFingerprint
	}
	msg3, out, in, err := hs.WriteMessage(head(typePair3, p.id), nil)
	if err != nil {
		return inner{}, err
	}
	p.out, p.in = out, in.Cipher()
	return p.say(ctx, msg3, 0)
}

// say sends a message until the camera's inner message with this counter comes.
func (p *pairer) say(ctx context.Context, msg []byte, counter uint64) (v inner, err error) {
	err = p.ask(ctx, msg, typePairInner, func(m message) error {
		v, err = openInner(p.in, m, counter)
		return err
	})
	return v, err
}

// ask repeats msg until one of the wanted kind is taken. What take calls
// errForeign is passed over.
func (p *pairer) ask(ctx context.Context, msg []byte, want byte, take func(message) error) error {
	end := time.Now().Add(giveUp)
	for time.Now().Before(end) {
		if err := p.conn.Send(ctx, msg); err != nil {
			return fmt.Errorf("connection: %w", err)
		}
		err := p.listen(ctx, want, take)
		if !errors.Is(err, errSilence) {
			return err
		}
	}
	return ErrNoAnswer
}

var errSilence = errors.New("silence")

func (p *pairer) listen(ctx context.Context, want byte, take func(message) error) error {
	wait, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	for {
		msg, err := p.conn.Receive(wait)
		switch {
		case ctx.Err() != nil:
			return errors.Join(ErrNoAnswer, ctx.Err())
		case wait.Err() != nil:
			return errSilence
		case err != nil:
			return fmt.Errorf("connection: %w", err)
		}
		m, ok := parse(msg)
		if !ok || m.id != p.id {
			continue
		}
		if m.kind == typePairNo {
			return refusal(m.body[0])
		}
		if m.kind != want {
			continue
		}
		if err := take(m); !errors.Is(err, errForeign) {
			return err
		}
	}
}

func refusal(code byte) error {
	switch code {
	case noBound:
		return ErrAlreadyBound
	case noWindow:
		return ErrWindowClosed
	case noBusy:
		return ErrBusy
	case noCode:
		return ErrWrongCode
	}
	return errAgain
}

// verify checks what the camera says of itself against label and handshake.
func (p *pairer) verify(ready inner) (Camera, error) {
	dev, err := identity.VerifyChain(ready.Chain, p.req.Roots)
	if err != nil {
		return Camera{}, err
	}
	if dev.Serial != p.req.QR.Serial || !bytes.Equal(dev.NoisePublic, p.peer) {
		return Camera{}, errors.New("the certificate is another camera's")
	}
	if ready.Epoch == 0 || !validBindID(ready.BindID) {
		return Camera{}, errors.New("the camera names no epoch or no bind id")
	}
	return Camera{
		Serial: dev.Serial, Epoch: ready.Epoch, BindID: ready.BindID,
		NoisePublic: dev.NoisePublic, Signing: dev.Signing, Chain: ready.Chain,
	}, nil
}

// own tells the camera its owner and takes the receipt.
func (p *pairer) own(ctx context.Context, cam Camera) (Camera, error) {
	msg, err := sealInner(p.out, p.id, inner{
		Name: p.req.Name, Noise: encodeKey(p.req.Owner.Public), Recipient: p.req.Recipient,
		Claim: p.req.ClaimToken.Reveal(),
	})
	if err != nil {
		return Camera{}, err
	}
	answer, err := p.say(ctx, msg, 1)
	switch {
	case err != nil:
		// Even "already bound" leaves it open: the camera may have restarted after it
		// took us for its owner, or somebody else may have said so.
		return cam, fmt.Errorf("pairing: %w: %w", ErrUnconfirmed, err)
	case answer.Error != nil:
		return Camera{}, answer.Error
	}
	if err := p.checkReceipt(answer.Receipt, cam); err != nil {
		return Camera{}, fmt.Errorf("pairing: %w", err)
	}
	cam.Receipt = answer.Receipt
	return cam, nil
}

func (p *pairer) checkReceipt(receipt string, cam Camera) error {
	r, _, err := VerifyReceipt(receipt, cam.Chain, p.req.Roots)
	if err != nil {
		return err
	}
	want := cloud.Receipt{
		Statement: cloud.Statement{V: 1, Serial: cam.Serial, Epoch: cam.Epoch, BindID: cam.BindID},
		Owner:     hash(p.req.Owner.Public), Recipient: hash([]byte(p.req.Recipient)),
		Token: tokenHash(p.req.ClaimToken.Reveal()), Time: r.Time,
	}
	if r != want {
		return errors.New("the receipt is about another binding")
	}
	return nil
}

// VerifyReceipt checks a camera's receipt and chain, for a cloud that books a
// binding: the chain leads to roots, the receipt is signed by the key in it and
// names the same serial. Epoch, token and account are the caller's to compare.
func VerifyReceipt(receipt, chain string, roots *x509.CertPool) (cloud.Receipt, identity.Device, error) {
	dev, err := identity.VerifyChain(chain, roots)
	if err != nil {
		return cloud.Receipt{}, identity.Device{}, fmt.Errorf("receipt: %w", err)
	}
	var r cloud.Receipt
	if err := seal.Verify(cloud.TypReceipt, dev.Signing, receipt, &r); err != nil {
		return cloud.Receipt{}, identity.Device{}, fmt.Errorf("receipt: %w", err)
	}
	if r.V != 1 || r.Serial != dev.Serial || r.Epoch == 0 || !validBindID(r.BindID) {
		return cloud.Receipt{}, identity.Device{}, errors.New("receipt: serial, epoch or bind id do not fit the certificate")
	}
	return r, dev, nil
}
