package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used of the processors, to the nanosecond: by
// its own clock, which Linux lets others read (clock_getcpuclockid(3)).
func cpuTime(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED: user and system time
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// statusMB reads a field of /proc/PID/status that is in kB of 1024 bytes, in
// MB of a million.
func statusMB(pid int, field string) (float64, error) {
	v, err := status(pid, field)
	return v * 1024 / 1e6, err
}

// status reads the number of a field of /proc/PID/status.
func status(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(l, field+":"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		}
	}
	return 0, errors.New(field + " is not in /proc/PID/status")
}

// descriptors is how many files a process has open.
func descriptors(pid int) (float64, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(list)), err
}

// busy is what all processes have used of all processors since the machine was
// started, of proc(5)'s /proc/stat, which counts in hundredths of a second.
func busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks int64
	for i, f := range strings.Fields(line) {
		if n, err := strconv.ParseInt(f, 10, 64); err == nil && i != 4 && i != 5 && i < 9 { // idle, waiting; guests count as user
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
