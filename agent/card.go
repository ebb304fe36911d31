package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
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
		MaxAge: time.Duration(c.MaxDays) * 24 * time.Hour, Now: a.agingClock, Owner: owner(a.id.Serial, a.binding), Leaving: a.leaving, RequireMount: c.RequireMount, Log: a.log.Named("card")})
	a.chains.card = a.card.ID
	warn := func(err error) { a.health.report("records", err) }
	a.clips = &clipStore{id: a.id, binding: a.binding, card: a.card, chains: a.chains, clock: a.clock, health: a.health,
		gaps: openGaps(a.cfg.StateDir, a.clock.Boot(), a.clock.At, warn), given: openGiven(a.cfg.StateDir, warn), key: openJournalKey(a.cfg.StateDir)}
	a.clips.rebind()
	os.MkdirAll(dir, 0o700) // what hinders it, Attach tells
	err := a.card.AttachSoon(5 * time.Second)
	if errors.Is(err, spool.ErrBusy) {
		return err
	}
	a.health.report("card", err)
	if err == nil {
		a.health.report("records", a.clips.recover(true))
	}
	return nil
}

func (a *Agent) leaving(name string) error { return a.clips.leaving(name) }

// owner is for whom is recorded.
func owner(serial cloud.Serial, b *bind.Store) func() spool.Owner {
	return func() spool.Owner {
		_, bindID, _ := b.Binding()
		return spool.Owner{Serial: serial, BindID: bindID}
	}
}

// foreign is what the owner is told of a card that holds what is not his.
func (s *clipStore) foreign() error {
	others, mute := s.card.Stats().Foreign, 0
	for _, by := range s.strange {
		if by == byOthers {
			others++
		} else {
			mute++
		}
	}
	var errs []string
	if others > 0 {
		errs = append(errs, fmt.Sprintf("the card holds %d clips of another camera or of an earlier owner: they stay on it, and are not uploaded; "+
			"put the card into its camera, or get them off it", others))
	}
	if mute > 0 {
		errs = append(errs, fmt.Sprintf("the card holds %d cut clips in open/ that nothing shows to be this camera's: they stay on it, and are not signed; "+
			"somebody may have put them there: get them off it", mute))
	}
	if errs == nil {
		return nil
	}
	return errors.New(strings.Join(errs, "; "))
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
		a.health.report("card_damaged", a.card.Stats().Spoiled)
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
