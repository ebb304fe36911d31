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
	a.clock, err = clock.Open(a.cfg.StateDir, buildTime())
	return err
}

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

// buildTime is before any moment at which this program can run.
func buildTime() time.Time {
	for _, text := range []string{cloud.Built, vcsTime()} {
		if t, err := time.Parse(time.RFC3339, text); err == nil && t.After(firstBuild()) {
			return t.UTC()
		}
	}
	return firstBuild()
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
