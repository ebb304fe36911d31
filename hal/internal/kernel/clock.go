package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now reads one of the kernel's clocks, such as unix.CLOCK_MONOTONIC; 0 if there
// is no such clock.
func Now(clock int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// When makes a time of a stamp of the first of clocks that it fits: an hour ago
// at most. One that fits none is now.
func When(stamp time.Duration, clocks ...int32) time.Time {
	now := time.Now()
	for _, c := range clocks {
		if age := Now(c) - stamp; age >= 0 && age < time.Hour {
			return now.Add(-age)
		}
	}
	return now
}
