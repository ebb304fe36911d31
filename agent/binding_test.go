package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/seal"
)

// wire is an app's conversation with a camera's pairing, in memory.
type wire struct {
	pairing *bind.Pairing
	back    chan []byte
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

// boundStore is the binding of a camera whose receipt the cloud has not taken yet.
func boundStore(t *testing.T, ctx context.Context, id *identity.Identity, dir string) *bind.Store {
	t.Helper()
	store, err := bind.Open(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{back: make(chan []byte, 16)}
	w.pairing = bind.NewPairing(store, bind.PairingConfig{Send: func(_ string, m []byte) { w.back <- m }})
	go w.pairing.Run(ctx)
	synctest.Wait()
	qr, err := identity.ParseQR(identity.QRText(id).Reveal())
	if err != nil {
		t.Fatal(err)
	}
	_, recipient, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bind.Pair(ctx, w, bind.PairRequest{QR: qr, ClientID: "app", Name: "owner", Owner: identity.NewKeyPair(),
		Recipient: recipient, ClaimToken: cloud.NewSecret("token")}); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestM7_RefusedReceiptIsKeptAndTold(t *testing.T) {
	t.Parallel()
	id, err := identity.NewSelfMade()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &Agent{log: zap.NewNop(), health: newHealth(zap.NewNop()), binding: boundStore(t, ctx, id, dir)}
		asked := 0
		a.ask = func(context.Context, string, any, any) error {
			if asked++; asked < 4 {
				return link.ErrOffline
			}
			return &link.AskError{Reason: "the claim has run out", Final: true}
		}
		done := make(chan error, 1)
		go func() { done <- a.deliverReceipt(ctx, nil) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked != 4 {
			t.Errorf("asked %d times, want three while offline and once more", asked)
		}
		if list := a.health.conditions(); len(list) != 1 || list[0].Code != "receipt" {
			t.Errorf("the owner is not told: %+v", list)
		}
		if _, ok := a.binding.Receipt(); !ok {
			t.Error("the receipt was thrown away")
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
