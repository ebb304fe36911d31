package agent

import (
	"slices"
	"time"

	"iid2secure.nl/camagent/agent/command"
)

// schedule is a command.Schedule made ready. Windows are of the clock on the wall:
// where the hour is changed, one is an hour shorter or longer.
type schedule struct {
	zone    *time.Location
	outside string
	days    [7][]span // by time.Weekday
}

// span of a day in minutes; one that does not rise ends on the next day.
type span struct{ from, to int }

// newSchedule returns nil if there are no windows. With an error, which is about
// the zone, the schedule is by UTC.
func newSchedule(s command.Schedule) (*schedule, error) {
	if len(s.Windows) == 0 {
		return nil, nil
	}
	out := &schedule{outside: s.Outside}
	if out.outside == "" {
		out.outside = command.RecordOff
	}
	zone, err := command.Zone(s.Zone)
	if err != nil {
		zone = time.UTC
	}
	out.zone = zone
	for _, w := range s.Windows {
		from, err1 := command.Minutes(w.From)
		to, err2 := command.Minutes(w.To)
		for _, d := range w.Days {
			i := slices.Index(command.Days, d)
			if i < 0 || err1 != nil || err2 != nil {
				continue // never written by us
			}
			day := (i + 1) % 7 // time.Weekday begins with Sunday
			out.days[day] = append(out.days[day], span{from, to})
		}
	}
	return out, err
}

// inside tells whether a window is open at t.
func (s *schedule) inside(t time.Time) bool {
	t = t.In(s.zone)
	now := 60*t.Hour() + t.Minute()
	for _, w := range s.days[t.Weekday()] {
		if now >= w.from && (now < w.to || w.to <= w.from) {
			return true
		}
	}
	for _, w := range s.days[(t.Weekday()+6)%7] { // since yesterday
		if w.to <= w.from && now < w.to {
			return true
		}
	}
	return false
}
