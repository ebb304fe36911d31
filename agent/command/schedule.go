package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule says when in the week the mode of recording holds, by the local time
// of a zone; without windows it always does.
type Schedule struct {
	Windows []Window `json:"windows,omitempty"`
	Zone    string   `json:"zone,omitempty"`    // IANA name, as Europe/Berlin; "": UTC
	Outside string   `json:"outside,omitempty"` // the mode outside of the windows: RecordEvents, RecordOff; "": off
}

// Window is a span of some days.
type Window struct {
	Days []string `json:"days"` // of Days, on which it begins
	From string   `json:"from"` // "08:00"
	To   string   `json:"to"`   // "18:00"; not after From: on the next day; "24:00": the end of the day
}

// Days are the words for the days of the week.
var Days = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// maxWindows bounds a schedule.
const maxWindows = 28

// Always is the text of a schedule without windows.
const Always = "always"

// CheckWindows tells what is wrong with a schedule's windows.
func CheckWindows(list []Window) error {
	if len(list) > maxWindows {
		return fmt.Errorf("schedule: has %d windows, want %d at most", len(list), maxWindows)
	}
	for i := range list {
		if err := list[i].check(); err != nil {
			return fmt.Errorf("schedule: window %d: %w", i+1, err)
		}
	}
	return nil
}

func (w *Window) check() error {
	if len(w.Days) == 0 || len(w.Days) > len(Days) {
		return fmt.Errorf("has %d days, want 1 to %d", len(w.Days), len(Days))
	}
	for _, d := range w.Days {
		if !slices.Contains(Days, d) {
			return fmt.Errorf("day: is %q, want one of %s", clip(d), strings.Join(Days, ", "))
		}
	}
	from, err := Minutes(w.From)
	if err == nil && from == 24*60 {
		err = errors.New("from: is 24:00, want 00:00 of the next day")
	}
	to, err2 := Minutes(w.To)
	if err = errors.Join(err, err2); err == nil && from == to {
		err = fmt.Errorf("is empty, from %s to %s", w.From, w.To)
	}
	return err
}

// Minutes of the day at a time written as 08:30; up to 24:00.
func Minutes(text string) (int, error) {
	h, m, ok := strings.Cut(text, ":")
	hours, err1 := digits(h)
	minutes, err2 := digits(m)
	if n := 60*hours + minutes; ok && err1 == nil && err2 == nil && minutes < 60 && n <= 24*60 {
		return n, nil
	}
	return 0, fmt.Errorf("time: is %q, want 00:00 to 24:00", clip(text))
}

func digits(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if len(s) != 2 {
		err = strconv.ErrSyntax
	}
	return int(n), err
}

// CheckZone tells whether the system that this runs on knows the zone.
func CheckZone(name string) error { _, err := Zone(name); return err }

// Zone is the zone of that name; "" is UTC.
func Zone(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("schedule.zone: the camera does not know %q: want UTC, or a name such as Europe/Berlin", clip(name))
	}
	return zone, nil
}

// ParseWindows reads windows as people write them, split by commas: days, as
// mon, mon-fri, sat+sun or daily, then @ or spaces, then 08:00-18:00.
func ParseWindows(text string) ([]Window, error) {
	if strings.TrimSpace(text) == Always {
		return []Window{}, nil
	}
	var list []Window
	for _, part := range strings.Split(text, ",") {
		fields := strings.FieldsFunc(part, func(r rune) bool { return r == '@' || r == ' ' })
		if len(fields) != 2 {
			return nil, fmt.Errorf("is %q, want %s, or windows such as mon-fri@08:00-18:00,sat+sun@22:00-06:00", clip(text), Always)
		}
		days, err := parseDays(fields[0])
		if err != nil {
			return nil, err
		}
		from, to, _ := strings.Cut(fields[1], "-")
		list = append(list, Window{Days: days, From: from, To: to})
	}
	if err := CheckWindows(list); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "schedule: "))
	}
	return list, nil
}

func parseDays(text string) (days []string, err error) {
	if text == "daily" {
		return slices.Clone(Days), nil
	}
	for _, part := range strings.Split(text, "+") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(Days, first), slices.Index(Days, last)
		if from < 0 || to < 0 {
			return nil, fmt.Errorf("days are %q, want %s, mon-fri, sat+sun or daily", clip(text), strings.Join(Days, ", "))
		}
		for ; ; from = (from + 1) % len(Days) { // sat-mon goes round
			days = append(days, Days[from])
			if from == to {
				break
			}
		}
	}
	slices.SortFunc(days, func(a, b string) int { return slices.Index(Days, a) - slices.Index(Days, b) })
	return slices.Compact(days), nil
}

// WindowsText writes windows as ParseWindows reads them, without spaces.
func WindowsText(list []Window) string {
	if len(list) == 0 {
		return Always
	}
	parts := make([]string, len(list))
	for i, w := range list {
		parts[i] = daysText(w.Days) + "@" + w.From + "-" + w.To
	}
	return strings.Join(parts, ",")
}

func daysText(days []string) string {
	if len(days) == len(Days) {
		return "daily"
	}
	if len(days) > 2 {
		first := slices.Index(Days, days[0])
		if last := first + len(days) - 1; first >= 0 && last < len(Days) && slices.Equal(Days[first:last+1], days) {
			return days[0] + "-" + days[len(days)-1]
		}
	}
	return strings.Join(days, "+")
}
