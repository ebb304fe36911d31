package clock

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/cloud"
)

// System is Linux's word on time.
type System struct{}

// Wall implements Kernel.
func (System) Wall() time.Time { return time.Now() }

// Synced implements Kernel, by adjtimex(2): the program that keeps the clock
// clears STA_UNSYNC, and the kernel sets it again when nobody corrects the clock
// for long (its maximum error reaches 16 s), and when the clock is set by hand.
func (System) Synced() (bool, time.Duration) {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err != nil || state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return false, 0
	}
	return true, time.Duration(t.Maxerror) * time.Microsecond
}

// Uptime implements Kernel.
func (System) Uptime() time.Duration { return read(unix.CLOCK_BOOTTIME) }

// Asleep implements Kernel.
func (System) Asleep() time.Duration { return read(unix.CLOCK_BOOTTIME) - read(unix.CLOCK_MONOTONIC) }

func read(clock int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// BootID implements Kernel.
func (System) BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// bootID joins what the kernel calls this boot and a name for this start of the
// program: numbers of frames begin anew with each start, the uptime does not.
func bootID(kernel string) string {
	kernel = strings.ReplaceAll(kernel, "-", "")
	if kernel == "" {
		kernel = cloud.Token(8)
	}
	return kernel[:min(16, len(kernel))] + "-" + cloud.Token(5)
}

// SameBoot tells whether two boots, as clips name them, are the same boot of the
// device; the program may have been started anew between them.
func SameBoot(a, b string) bool { return device(a) == device(b) }

func device(boot string) string {
	id, _, _ := strings.Cut(boot, "-")
	return id
}

// damaged tells whether a file could be read, but is none of ours.
func damaged(err error) bool {
	var path *fs.PathError
	return !errors.As(err, &path)
}
