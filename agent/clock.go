package agent

import (
	"context"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/clock"
)

// openClock is the device's one clock; its last known time is in the state folder.
func (a *Agent) openClock() (err error) {
	if a.clock, err = clock.Open(a.cfg.StateDir, BuildTime()); err != nil {
		return err
	}
	a.health.now = a.clock.Now
	return nil
}

// expiryClock is the time by which memberships end. While it is known to be wrong,
// members that expire are refused: their time may have come.
func (a *Agent) expiryClock() (now time.Time, right bool) { return a.clock.Now(), a.clock.Plausible() }

// How often the clock is looked at, and when its time is kept for the next start:
// soon after the start, then seldom, to spare the flash, and at the end.
const (
	clockEvery = 10 * time.Second
	clockFirst = time.Minute
	clockKeeps = time.Hour
)

// keepClock keeps the time for the next start, and tells the owner of a clock that
// is wrong.
func (a *Agent) keepClock(ctx context.Context) error {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	defer a.saveClock()
	for due := time.Now().Add(clockFirst); ; {
		a.health.report("clock", a.clock.Wrong())
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if now := time.Now(); !now.Before(due) {
			a.saveClock()
			due = now.Add(clockKeeps)
		}
	}
}

func (a *Agent) saveClock() {
	if err := a.clock.Save(); err != nil {
		a.log.Warn("the time is not kept", zap.Error(err))
	}
}

// firstBuild is when a program was built that does not say it.
func firstBuild() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// BuildTime is before any moment at which this program can run: what the build or
// the commit that it was made from says, or at least the year in which it was begun.
func BuildTime() time.Time { return latest(firstBuild(), cloud.Built, vcsTime()) }

// latest is t, or the latest of the texts that are times.
func latest(t time.Time, texts ...string) time.Time {
	for _, text := range texts {
		if u, err := time.Parse(time.RFC3339, text); err == nil && u.After(t) {
			t = u.UTC()
		}
	}
	return t
}

// vcsTime is when the source was committed; go build notes it.
func vcsTime() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			return s.Value
		}
	}
	return ""
}
