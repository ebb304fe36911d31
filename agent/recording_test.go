package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/media/clip"
)

// decided runs a script of lines "SECOND what", and returns what was decided:
// "SECOND order @since". What: a mode, "+KIND" and "-KIND" (events), "start",
// "start N", "stop", "unbound"; "-" decides only.
func decided(t *testing.T, script string) (out []string) {
	t.Helper()
	base := time.Now()
	ids := 0
	d := decider{preRoll: 5 * time.Second, postRoll: 10 * time.Second, newID: func() string { ids++; return fmt.Sprint(ids) }}
	mode := command.RecordContinuous
	at := func(x time.Time) float64 { return x.Sub(base).Seconds() }
	decide := func(now time.Time) time.Time {
		is := d.decide(now, mode, false)
		if is.changed {
			since := now
			if !is.since.IsZero() {
				since = is.since
			}
			urgent := ""
			if is.order.Urgent {
				urgent = "!"
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%g %s%s%s @%g", at(now), is.order.Trigger, is.order.Event, urgent, at(since))))
		}
		return is.next
	}
	var next time.Time
	for _, line := range strings.Split(script, ",") {
		var second float64
		var what, arg string
		fmt.Sscan(line, &second, &what, &arg)
		now := base.Add(time.Duration(second * float64(time.Second)))
		for !next.IsZero() && next.Before(now) {
			next = decide(next)
		}
		switch {
		case what[0] == '+':
			d.begin(what[1:], now)
		case what[0] == '-':
			d.end(what[1:], now)
		case what == "start":
			long, _ := time.ParseDuration(arg)
			d.start(now, long)
		case what == "stop":
			d.stop()
		case what == "unbound":
			mode = ""
		default:
			mode = what
		}
		next = decide(now)
	}
	for range 10 {
		if !next.IsZero() {
			next = decide(next)
		}
	}
	return out
}

func TestM3_WhatIsRecordedWhen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, want string }{
		"modes":                                      {"0 continuous, 10 off, 20 continuous, 30 unbound", "0 continuous @0|10  @10|20 continuous @20|30  @30"},
		"an event, with what is around":              {"0 events, 60 +motion, 65 -motion", "60 motion1! @55|75  @75"},
		"overlapping ones are one":                   {"0 events, 60 +motion, 62 +sound, 63 -motion, 70 -sound", "60 motion1! @55|80  @80"},
		"one within the time after too":              {"0 events, 60 +motion, 61 -motion, 70 +sound, 71 -sound", "60 motion1! @55|81  @81"},
		"one later is another":                       {"0 events, 60 +motion, 61 -motion, 72 +motion, 73 -motion", "60 motion1! @55|71  @71|72 motion2! @67|83  @83"},
		"told twice":                                 {"0 events, 60 +motion, 62 +motion, 63 -motion, 64 -motion", "60 motion1! @55|73  @73"},
		"an end without a begin":                     {"0 events, 60 -motion", ""},
		"continuous, cut by an event":                {"0 continuous, 60 +motion, 65 -motion", "0 continuous @0|60 motion1! @60|75 continuous @75"},
		"no pre-roll of when it was off":             {"0 off, 60 events, 62 +motion, 63 -motion", "62 motion1! @60|73  @73"},
		"an event while off":                         {"0 off, 60 +motion, 65 -motion", ""},
		"off ends an event":                          {"0 events, 60 +motion, 65 off, 70 -motion", "60 motion1! @55|65  @65"},
		"an event that lasts when it is switched on": {"0 off, 60 +motion, 65 events, 70 -motion", "65 motion1! @65|80  @80"},
		"on command, for a while":                    {"0 off, 60 start 10s", "60 command @60|70  @70"},
		"on command, until stop":                     {"0 off, 60 start, 90 stop, 95 stop", "60 command @60|90  @90"},
		"again: the newer end counts":                {"0 off, 60 start 30s, 65 start 10s", "60 command @60|75  @75"},
		"command over continuous":                    {"0 continuous, 60 start 10s", "0 continuous @0|60 command @60|70 continuous @70"},
		"an event over command":                      {"0 events, 60 start 30s, 70 +motion, 71 -motion", "60 command @60|70 motion1! @70|81 command @81|90  @90"},
		"an event while off and on command":          {"0 off, 60 start 30s, 70 +motion, 71 -motion", "60 command @60|90  @90"},
		"unbound ends everything":                    {"0 events, 60 start, 61 +motion, 62 unbound, 70 events", "60 command @60|61 motion1! @61|62  @62"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(decided(t, test.script), "|"); got != test.want {
				t.Errorf("%q\ngot  %q\nwant %q", test.script, got, test.want)
			}
		})
	}
}

// The pre-roll is told to the recorder even if the event is told late, and an
// event of the future is one of now.
func TestM3_EventsToldLateOrEarly(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := decider{preRoll: 5 * time.Second, newID: func() string { return "1" }, since: now.Add(-time.Hour), mode: command.RecordEvents}
	d.begin("motion", now.Add(-2*time.Second))
	require.Equal(t, now.Add(-7*time.Second), d.decide(now, command.RecordEvents, false).since)
	d = decider{preRoll: 5 * time.Second, newID: func() string { return "1" }, since: now.Add(-time.Hour), mode: command.RecordEvents}
	d.begin("motion", now.Add(time.Hour))
	require.Equal(t, now.Add(-5*time.Second), d.decide(now, command.RecordEvents, false).since)
}

func TestM3_ScheduledClipsSayWhy(t *testing.T) {
	t.Parallel()
	d := decider{}
	require.Equal(t, clip.Order{Trigger: "schedule"}, d.decide(time.Now(), command.RecordContinuous, true).order)
	require.Equal(t, clip.Order{}, d.decide(time.Now(), command.RecordOff, true).order)
}

func TestM3_ScheduleIsOfTheWallClock(t *testing.T) {
	t.Parallel()
	s, err := newSchedule(command.Schedule{Zone: "Europe/Berlin", Windows: windows(t, "mon-fri@08:00-18:00,sat@22:00-06:00,sun@23:30-24:00")})
	require.NoError(t, err)
	for at, want := range map[string]bool{
		"2026-07-20T05:59:59Z": false, "2026-07-20T06:00:00Z": true, // Monday, summer: 2 hours ahead
		"2026-07-20T15:59:59Z": true, "2026-07-20T16:00:00Z": false,
		"2026-01-05T06:59:59Z": false, "2026-01-05T07:00:00Z": true, // Monday, winter: 1 hour
		"2026-07-25T19:59:00Z": false, "2026-07-25T20:00:00Z": true, // Saturday night
		"2026-07-26T03:59:00Z": true, "2026-07-26T04:00:00Z": false,
		"2026-07-26T21:30:00Z": true, "2026-07-26T22:00:00Z": false, // to the end of Sunday
		"2026-03-29T03:30:00Z": true, "2026-03-29T04:00:00Z": false, // the night of the hour that is not
		"2026-10-25T04:59:00Z": true, "2026-10-25T05:00:00Z": false, // and of the one that comes twice
	} {
		when, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		require.Equal(t, want, s.inside(when), at)
	}
}

func windows(t *testing.T, text string) []command.Window {
	t.Helper()
	list, err := command.ParseWindows(text)
	require.NoError(t, err)
	return list
}

func TestM3_ScheduleOfAnUnknownZoneIsByUTC(t *testing.T) {
	t.Parallel()
	s, err := newSchedule(command.Schedule{Zone: "Middle/Earth", Windows: windows(t, "daily@08:00-09:00")})
	require.ErrorContains(t, err, "Middle/Earth")
	require.True(t, s.inside(time.Date(2026, 7, 20, 8, 30, 0, 0, time.UTC)))
	none, err := newSchedule(command.Schedule{Zone: "UTC"})
	require.NoError(t, err)
	require.Nil(t, none)
}
