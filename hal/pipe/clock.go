package pipe

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// maxSkew is how far a time stamp may be from now.
const maxSkew = 5 * time.Second

// clock maps CLOCK_MONOTONIC, by which a sidecar stamps, to time.Time. Go's
// monotonic reading is the same clock, with an unknown zero.
type clock struct {
	at   time.Time
	mono int64 // at that time
}

func newClock() (clock, error) {
	var ts unix.Timespec
	before := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return clock{}, fmt.Errorf("reading CLOCK_MONOTONIC: %w", err)
	}
	return clock{before.Add(time.Since(before) / 2), ts.Nano()}, nil
}

// time returns when a message that arrived now was stamped; 0 is now. Its wall
// clock is now's, so that a step of the wall clock is followed.
func (c clock) time(stamp uint64, now time.Time) (time.Time, error) {
	if stamp == 0 {
		return now, nil
	}
	off := time.Duration(stamp - uint64(c.mono+int64(now.Sub(c.at))))
	if off > maxSkew || off < -maxSkew {
		return time.Time{}, fmt.Errorf("a time stamp is %v off, want CLOCK_MONOTONIC in nanoseconds, or 0", off.Round(time.Millisecond))
	}
	return now.Add(off), nil
}
