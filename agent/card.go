package agent

import (
	"context"
	"errors"
	"os"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// openCard takes hold of the card. One that is missing, full or read-only stops
// nothing: live goes on, the owner is told, and it is tried again. R7.
func (a *Agent) openCard() error {
	dir := a.cfg.Card.Dir
	a.card = spool.New(dir, spool.Config{MaxBytes: int64(a.cfg.Card.LimitMB) << 20, Log: a.log.Named("card")})
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
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := a.card.Attach()
		if err == nil {
			err = a.card.Stats().Err
		}
		a.health.report("card", err)
		a.uploadStats()
	}
}
