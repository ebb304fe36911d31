package agent

import (
	"runtime/debug"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/clock"
)

// openClock is the device's one clock; its last known time is in the state folder.
func (a *Agent) openClock() (err error) {
	a.clock, err = clock.Open(a.cfg.StateDir, buildTime())
	return err
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
