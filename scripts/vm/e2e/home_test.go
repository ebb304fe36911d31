//go:build vm

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/scripts/port"
	"iid2secure.nl/camagent/scripts/vm/usbcam"
)

// home is a camera's state with an owner in it.
type home struct {
	config, address string
	user, password  string
}

// newHome provisions a device, binds it to an owner by its QR, and configures
// camagent for the USB camera.
func newHome(t *testing.T, camera *usbcam.Camera) home {
	t.Helper()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	id, err := provision(state)
	if err != nil {
		t.Fatal(err)
	}
	h := home{config: filepath.Join(dir, "camagent.yaml"), address: freeAddress(t)}
	if h.user, h.password, err = own(t.Context(), state, id); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("state_dir: %s\nboard: v4l2\nv4l2: {sources: [{stream: main, device: \"usb:%s\"}]}\nrtsp: {address: \"%s\"}\ncard: {dir: %s}\n",
		state, camera.Number(), h.address, filepath.Join(dir, "card"))
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// provision does what a factory does.
func provision(state string) (*identity.Identity, error) {
	f, err := identity.NewFactory("Test")
	if err != nil {
		return nil, err
	}
	id, err := f.Provision()
	if err != nil {
		return nil, err
	}
	return id, id.Save(filepath.Join(state, "identity"))
}

// own pairs an owner with the device, in memory, and returns the owner's
// credential for live streams.
func own(ctx context.Context, state string, id *identity.Identity) (user, password string, err error) {
	store, err := bind.Open(state, id)
	if err != nil {
		return "", "", err
	}
	qr, err := identity.ParseQR(identity.QRText(id).Reveal())
	if err != nil {
		return "", "", err
	}
	_, recipient, err := seal.NewIdentity()
	if err != nil {
		return "", "", err
	}
	w := newWire(store)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.pairing.Run(ctx) }()
	owner := identity.NewKeyPair()
	_, err = bind.Pair(ctx, w, bind.PairRequest{QR: qr, ClientID: "app", Name: "owner", Owner: owner, Recipient: recipient})
	cancel()
	if end := <-ended; err == nil && !errors.Is(end, context.Canceled) {
		err = end
	}
	user = bind.MemberID(owner.Public)
	password, ok := store.Credential(user)
	if err == nil && !ok {
		err = errors.New("the owner has no credential")
	}
	return user, password, err
}

// wire carries the pairing's messages in memory.
type wire struct {
	pairing *bind.Pairing
	back    chan []byte
}

func newWire(store *bind.Store) *wire {
	w := &wire{back: make(chan []byte, 16)}
	w.pairing = bind.NewPairing(store, bind.PairingConfig{Send: func(_ string, m []byte) { w.back <- m }})
	return w
}

func (w *wire) Send(_ context.Context, msg []byte) error {
	w.pairing.Receive("app", msg)
	return nil
}

func (w *wire) Receive(ctx context.Context) ([]byte, error) {
	select {
	case m := <-w.back:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
