package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/retry"
)

// follow makes the camera do what its binding says, at start and at every change.
func (a *Agent) follow(ctx context.Context) error {
	for {
		changed := a.binding.Changed()
		_, bindID, bound := a.binding.Binding()
		a.camera.settings.rebind(bindID)
		if a.clips.rebind() || !bound { // unbound and bound again may be one change
			a.camera.apply(false)
			a.camera.forget()
		}
		a.camera.apply(bound)
		if a.link != nil {
			a.link.RefreshPresence()
			a.uploader.Kick()
		}
		a.log.Info("binding", zap.Stringer("serial", a.id.Serial), zap.Bool("bound", bound))
		if err := a.deliverReceipt(ctx, changed); err != nil {
			return err
		}
	}
}

// maxReceiptWait is the longest span between attempts to hand over a receipt.
const maxReceiptWait = time.Minute

// deliverReceipt hands the signed receipt to the cloud until it has taken it or
// refused it for good, and returns when the binding changes. A refused one is
// kept, and is a condition: it is tried again at the next start.
func (a *Agent) deliverReceipt(ctx context.Context, changed <-chan struct{}) error {
	b := retry.Backoff{Max: maxReceiptWait}
	for {
		notice, ok := a.binding.Receipt()
		if !ok || a.ask == nil {
			break
		}
		err := a.offerReceipt(ctx, notice, changed)
		if isClosed(changed) {
			return nil
		}
		a.health.report("receipt", err)
		if err == nil {
			a.uploader.Kick()
			break
		}
		if refused := (*link.AskError)(nil); errors.As(err, &refused) && refused.Final {
			break
		}
		select {
		case <-time.After(b.Next()):
		case <-changed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// offerReceipt gives up when the binding changes: nothing may hold up what that
// takes, and it may be another one's receipt then.
func (a *Agent) offerReceipt(ctx context.Context, notice cloud.ReceiptNotice, changed <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := a.ask(ctx, cloud.AskReceipt, notice, nil); err != nil {
		return fmt.Errorf("the cloud has not booked the binding, clips stay on the card: %w", err)
	}
	if isClosed(changed) {
		return nil // it may be another one's by now, and is offered again
	}
	return a.binding.ReceiptTaken()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
