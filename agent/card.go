package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// openCard takes hold of the card. One that is missing, full or read-only stops
// nothing: live goes on, the owner is told, and it is tried again. R7.
func (a *Agent) openCard() error {
	dir := a.cfg.Card.Dir
	a.card = spool.New(dir, spool.Config{MaxBytes: int64(a.cfg.Card.LimitMB) << 20, RequireMount: a.cfg.Card.RequireMount, Log: a.log.Named("card")})
	a.clips = &clipStore{id: a.id, binding: a.binding, card: a.card, chains: a.chains, health: a.health,
		boot: cloud.Token(8), lane: spool.Routine}
	os.MkdirAll(dir, 0o700) // what hinders it, Attach tells
	err := a.card.Attach()
	if errors.Is(err, spool.ErrBusy) {
		return err
	}
	a.health.report("card", err)
	return nil
}

// cardEvery is how often the card is looked at.
const cardEvery = 3 * time.Second

// watchCard takes hold of a card that came late or came back, and keeps the
// conditions of card and storage as they are.
func (a *Agent) watchCard(ctx context.Context) error {
	t := time.NewTicker(cardEvery)
	defer t.Stop()
	for held := a.card.Stats().Err == nil; ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := a.lookAtCard(held)
		held = err == nil
		a.health.report("card", err)
		a.uploadStats()
	}
}

// lookAtCard takes hold of the card. One that was held and is gone is told for a
// moment before an empty folder may take its place.
func (a *Agent) lookAtCard(held bool) error {
	if _, err := os.Stat(a.cfg.Card.Dir); err != nil && held {
		return fmt.Errorf("the card is gone: %w", err)
	}
	if err := a.card.Attach(); err != nil {
		return err
	}
	return a.card.Stats().Err
}
