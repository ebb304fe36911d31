package clock

import (
	"cmp"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Dated is when something began, as far as it can be known now.
type Dated struct {
	Started time.Time   // zero: the details name no time
	Clock   cloud.Clock // of that time
	Redated bool        // the details say another time, by a clock that was not synchronised
}

// Redate dates clips, in the order of list. One whose clock was not synchronised
// is dated by the one of the same boot, nearest in uptime, whose clock was; if
// there is none, its own word stands.
func Redate(list []cloud.ClipDetails) []Dated {
	fixes := map[string][]fix{}
	out := make([]Dated, len(list))
	for i, d := range list {
		out[i].Started, _ = time.Parse(time.RFC3339, d.Started)
		out[i].Clock = d.Clock
		if d.Clock.Synced && d.UptimeMS > 0 && !out[i].Started.IsZero() {
			boot := device(d.Boot)
			fixes[boot] = append(fixes[boot], fix{d.UptimeMS, out[i]})
		}
	}
	for _, f := range fixes {
		slices.SortFunc(f, func(a, b fix) int { return cmp.Compare(a.uptime, b.uptime) })
	}
	for i, d := range list {
		if f := nearest(fixes[device(d.Boot)], d.UptimeMS); f != nil && !d.Clock.Synced && d.UptimeMS > 0 {
			out[i] = f.date(d.UptimeMS)
		}
	}
	return out
}

// fix ties an uptime to a time that can be trusted.
type fix struct {
	uptime int64 // ms
	Dated
}

// drift is by how much a quartz goes wrong while nobody corrects it.
const drift = 100e-6

// date tells what time it was at an uptime.
func (f fix) date(uptime int64) Dated {
	apart := uptime - f.uptime
	c := f.Clock
	c.UncertaintyMS += int64(float64(max(apart, -apart))*drift) + 1
	return Dated{Started: f.Started.Add(time.Duration(apart) * time.Millisecond).UTC(), Clock: c, Redated: true}
}

// nearest finds the fix whose uptime is nearest; nil if there is none. The list is
// sorted.
func nearest(list []fix, uptime int64) *fix {
	i, _ := slices.BinarySearchFunc(list, uptime, func(f fix, u int64) int { return cmp.Compare(f.uptime, u) })
	switch {
	case len(list) == 0:
		return nil
	case i == len(list), i > 0 && uptime-list[i-1].uptime < list[i].uptime-uptime:
		return &list[i-1]
	}
	return &list[i]
}
