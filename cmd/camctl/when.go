package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// rangeFlags are a range of time, as a person types it.
type rangeFlags struct{ from, to string }

func (f *rangeFlags) define(cmd *cobra.Command) {
	const how = ": 2026-01-02, \"2026-01-02 15:04\", 2026-01-02T15:04:05Z, or 2h for two hours ago (also s, m, d)"
	cmd.Flags().StringVar(&f.from, "from", "", "only clips that begin then or later"+how)
	cmd.Flags().StringVar(&f.to, "to", "", "only clips that begin earlier; a day counts whole")
}

func (f *rangeFlags) set() bool { return f.from != "" || f.to != "" }

// times reads the range; zero: no bound.
func (f *rangeFlags) times(now time.Time) (from, to time.Time, err error) {
	if from, _, err = when("--from", f.from, now); err != nil {
		return from, to, err
	}
	to, day, err := when("--to", f.to, now)
	if day {
		to = to.AddDate(0, 0, 1)
	}
	if err == nil && !from.IsZero() && !to.IsZero() && !from.Before(to) {
		err = usage("--from %s is not before --to %s", f.from, f.to)
	}
	return from, to, err
}

// when reads one time; without a zone it is in now's. day: it is a whole one.
func when(flag, text string, now time.Time) (t time.Time, day bool, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return t, false, nil
	}
	if text == "now" {
		return now, false, nil
	}
	if ago, ok := span(strings.TrimSpace(strings.TrimSuffix(text, "ago"))); ok {
		return now.Add(-ago), false, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", "15:04"} {
		t, err := time.ParseInLocation(layout, text, now.Location())
		if err != nil {
			continue
		}
		if layout == "15:04" { // today
			t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		}
		return t, false, nil
	}
	if t, err = time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return t, true, nil
	}
	return t, false, usage("%s: %.40q is not a time: want 2026-01-02, \"2026-01-02 15:04\", 2026-01-02T15:04:05Z, or 2h for two hours ago", flag, text)
}

// span reads a length of time; days beside what package time knows.
func span(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n >= 0 && n < 100_000
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}
