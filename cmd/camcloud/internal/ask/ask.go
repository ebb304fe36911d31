// Package ask answers what devices ask their cloud over the broker: grants and
// receipts. Who asks is certain, for the broker has checked it; what is asked
// is a stranger's bytes. An answer says whether to ask again is in vain, so
// that a device neither gives up on what heals nor hammers on what doesn't.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cmd/camcloud/internal/grant"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

// maxID bounds the id of an ask, which the answer repeats.
const maxID = 64

// answerTime is how long one ask may take.
const answerTime = 20 * time.Second

// Desk answers asks. All fields are set before the first Answer; that is safe
// for use by several goroutines.
type Desk struct {
	Store   *store.Store
	Storage *grant.Storage
	// Verify checks a receipt and its chain against the factory's roots (bind.VerifyReceipt).
	Verify func(receipt, chain string) (cloud.Receipt, identity.Device, error)
	// Lost is told of an account that lost a camera to another one.
	Lost func(account string)
	Log  *zap.Logger

	ignored atomic.Uint64
}

// refusal is an error that the device is told; final ones will not heal.
type refusal struct {
	text  string
	final bool
}

func (r *refusal) Error() string { return r.text }

func final(text string) error { return &refusal{text, true} }
func later(text string) error { return &refusal{text, false} }

// Ignored counts asks that were too malformed to answer.
func (d *Desk) Ignored() uint64 { return d.ignored.Load() }

// Answer answers one ask of a device; nil is no answer, for what has no id.
func (d *Desk) Answer(ctx context.Context, serial cloud.Serial, payload []byte) []byte {
	var q cloud.Ask
	if len(payload) > cloud.MaxMessage || json.Unmarshal(payload, &q) != nil || q.ID == "" || len(q.ID) > maxID {
		d.ignored.Add(1)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	a := cloud.Answer{V: 1, ID: q.ID}
	body, err := d.answer(ctx, serial, q)
	if err == nil && body != nil {
		a.Body, err = json.Marshal(body)
	}
	if err != nil {
		a.Error, a.Final = d.tell(serial, q.Kind, err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return b
}

// tell turns an error into what the device may know of it; the rest is logged.
func (d *Desk) tell(serial cloud.Serial, kind string, err error) (text string, isFinal bool) {
	log := d.Log.With(zap.Stringer("camera", serial), zap.Error(err))
	if r, ok := errors.AsType[*refusal](err); ok {
		log.Info("ask refused", zap.String("kind", kind[:min(len(kind), 16)]), zap.Bool("final", r.final))
		return r.text, r.final
	}
	log.Warn("ask failed")
	return "the cloud has a fault, try again later", false
}

func (d *Desk) answer(ctx context.Context, serial cloud.Serial, q cloud.Ask) (any, error) {
	if q.V != 1 {
		return nil, final("ask: version is not 1")
	}
	switch q.Kind {
	case cloud.AskGrant:
		var r cloud.GrantRequest
		if json.Unmarshal(q.Body, &r) != nil {
			return nil, final("grant: body is not a grant request")
		}
		return d.grant(ctx, serial, r)
	case cloud.AskReceipt:
		var n cloud.ReceiptNotice
		if json.Unmarshal(q.Body, &n) != nil {
			return nil, final("receipt: body is not a receipt notice")
		}
		return nil, d.receipt(serial, n)
	}
	return nil, final("ask: unknown kind")
}

// grant lets a device write below its own present binding, and nowhere else. S11.
func (d *Desk) grant(ctx context.Context, serial cloud.Serial, r cloud.GrantRequest) (any, error) {
	b, bound := d.Store.Binding(serial)
	if !bound {
		// Its receipt may still be on the way.
		return nil, later("grant: this camera has no booked binding")
	}
	if err := grant.Check(r, cloud.ObjectKey(serial, b.BindID, "")); err != nil {
		return nil, final(err.Error())
	}
	return d.Storage.Put(ctx, r)
}

// receipt books a binding on the device's own signed word. M7, S10.
func (d *Desk) receipt(serial cloud.Serial, n cloud.ReceiptNotice) error {
	r, dev, err := d.Verify(n.Receipt, n.Chain)
	if err != nil {
		return final("receipt: " + err.Error())
	}
	if dev.Serial != serial || r.Serial != serial {
		return final("receipt: of another camera")
	}
	if !validBindID(r.BindID) {
		return final("receipt: bind id is not 16 bytes in hex")
	}
	previous, err := d.Store.Book(r, cloud.NewSecret(n.Token))
	if errors.Is(err, store.ErrClaim) || errors.Is(err, store.ErrEpoch) {
		return final("receipt: " + err.Error())
	}
	if err != nil {
		return fmt.Errorf("book binding: %w", err)
	}
	d.Log.Info("binding booked", zap.Stringer("camera", serial), zap.Uint64("epoch", r.Epoch))
	if previous != "" && d.Lost != nil {
		d.Lost(previous)
	}
	return nil
}

// validBindID matters because the bind id becomes part of object keys.
func validBindID(id string) bool {
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(id) == 32
}
