package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/spool"
)

// openCard takes hold of the card. One that is missing, full or read-only stops
// nothing: live goes on, the owner is told, and it is tried again. R7.
func (a *Agent) openCard() error {
	dir := a.cfg.Card.Dir
	c := a.cfg.Card
	a.card = spool.New(dir, spool.Config{MaxBytes: int64(c.LimitMB) << 20, MinFree: int64(c.MinFreeMB) << 20,
		MaxAge: time.Duration(c.MaxDays) * 24 * time.Hour, Now: a.agingClock, Owner: owner(a.id.Serial, a.binding), Leaving: a.chains.leaving, RequireMount: c.RequireMount, Log: a.log.Named("card")})
	a.chains.card = a.card.ID
	gaps := openGaps(a.cfg.StateDir, a.clock.Boot(), a.clock.At, func(err error) { a.health.report("records", err) })
	a.clips = &clipStore{id: a.id, binding: a.binding, card: a.card, chains: a.chains, gaps: gaps, clock: a.clock, health: a.health}
	a.clips.rebind()
	os.MkdirAll(dir, 0o700) // what hinders it, Attach tells
	err := a.card.Attach()
	if errors.Is(err, spool.ErrBusy) {
		return err
	}
	a.health.report("card", err)
	if err == nil {
		a.health.report("records", a.clips.recover(true))
	}
	return nil
}

// owner is for whom is recorded.
func owner(serial cloud.Serial, b *bind.Store) func() spool.Owner {
	return func() spool.Owner {
		_, bindID, _ := b.Binding()
		return spool.Owner{Serial: serial, BindID: bindID}
	}
}

// foreign is what the owner is told of a card that holds what is not his.
func (s *clipStore) foreign() error {
	n := s.card.Stats().Foreign
	for _, u := range s.card.Unfinished() {
		if s.notOurs(u) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("the card holds %d clips of another camera or of an earlier owner: they stay on it, and are not uploaded; "+
		"put the card into its camera, or get them off it", n)
}

// notOurs tells whether a clip that was cut is neither ours to close nor ours to remove.
func (s *clipStore) notOurs(u spool.Unfinished) bool {
	var head clipHead
	if len(u.Notes) == 0 || json.Unmarshal(u.Notes[0], &head) != nil || head.Serial == "" {
		return false
	}
	epoch, bindID, _ := s.binding.Binding()
	return head.Serial != s.id.Serial || head.BindID != bindID && head.Epoch >= epoch
}

// agingClock is by what clips on the card age: a clock that may be wrong by years
// removes nothing.
func (a *Agent) agingClock() time.Time {
	if !a.clock.Trust().Synced {
		return time.Time{}
	}
	return a.clock.Now()
}

// cardEvery is how often the card is looked at, retainEvery how often what is too
// old is removed from it.
const (
	cardEvery   = 3 * time.Second
	retainEvery = time.Minute
)

// watchCard takes hold of a card that came late or came back, finishes what a cut
// has left on it, tells what is missing, and keeps the conditions of card and
// storage as they are.
func (a *Agent) watchCard(ctx context.Context) error {
	t := time.NewTicker(cardEvery)
	defer t.Stop()
	retained := time.Now()
	for held := a.card.Stats().Err == nil; ; {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := a.lookAtCard(held)
		a.noteOff()
		if err == nil {
			a.health.report("records", a.clips.tend(!held))
		}
		if err == nil && time.Since(retained) >= retainEvery {
			retained = time.Now()
			err = a.card.Retain()
		}
		held = err == nil
		a.health.report("card", err)
		a.health.report("foreign", a.clips.foreign())
		a.uploadStats()
	}
}

// noteOff keeps account of when the owner wants nothing to be recorded, always or
// by the schedule. Before it is decided what is wanted, nothing changes.
func (a *Agent) noteOff() {
	now := a.recordingStatus()
	switch stream := a.cfg.Record.Stream; {
	case now.Now == "":
	case now.Now == command.RecordOff && now.Trigger == "":
		a.clips.gaps.begin(stream, cloud.GapOff, time.Now())
	default:
		a.clips.gaps.end(stream, cloud.GapOff, time.Now())
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
