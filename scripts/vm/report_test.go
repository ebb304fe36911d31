package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

const failing = `=== RUN   TestVM_Haltest
    vm_test.go:148: runs: ok in 11s
    check.go:21: grab: not applicable: it has no raw pictures
    vm_test.go:149: tune-fps: 21.1 frames a second, Config says 12 (held up for 310 ms at the worst: repeated 2 times)
        	promise: Tune changes a running stream: FPS.
--- FAIL: TestVM_Haltest (50.12s)
=== RUN   TestVM_Other
    vm_test.go:200: well
--- PASS: TestVM_Other (0.10s)
=== RUN   TestVM_Skipped
    vm_test.go:210: no device
--- SKIP: TestVM_Skipped (0.10s)
FAIL
guest: the end of the kernel's log:
usb 1-1: new high-speed USB device
`

const crashing = `=== RUN   TestVM_Hangs
    vm_test.go:300: it waits
panic: test timed out after 2m0s
	running tests:
		TestVM_Hangs (1m50s)

goroutine 1 [running]:
`

// M13: what failed stands at the end, behind all that was said besides, so that a
// log of which only the end is kept tells it.
func TestM13_WhatFailedStandsAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		text string
		exit int
		err  error
		want string
	}{
		"tests": {failing, 1, nil, `==    armhf hal/v4l2: FAIL TestVM_Haltest
    vm_test.go:148: runs: ok in 11s
    check.go:21: grab: not applicable: it has no raw pictures
    vm_test.go:149: tune-fps: 21.1 frames a second, Config says 12 (held up for 310 ms at the worst: repeated 2 times)
        	promise: Tune changes a running stream: FPS.
==    armhf hal/v4l2: SKIP TestVM_Skipped
    vm_test.go:210: no device
armhf  FAILED: 1 tests passed, 1 failed, 1 skipped, in 60.0s
`},
		"a crash": {crashing + strings.Repeat("\tstack\n", 100), 2, nil, "==    armhf hal/v4l2: panic: test timed out after 2m0s\n\trunning tests:\n\t\tTestVM_Hangs (1m50s)\n\n" +
			"goroutine 1 [running]:\n" + strings.Repeat("\tstack\n", ending-5) + "armhf  FAILED: 0 tests passed, 0 failed, 0 skipped, in 60.0s\n"},
		"a machine that ends": {"", 0, errors.New("did the kernel panic?"), "==    armhf: did the kernel panic?\n    vm_test.go:1: it begins\n" +
			"armhf  FAILED: 1 tests passed, 0 failed, 0 skipped, in 60.0s\n"},
		"none": {"--- PASS: TestVM_Other (0.10s)\n", 0, nil, "armhf  ok: 1 tests passed, 0 failed, 0 skipped, in 60.0s\n"},
	} {
		var out strings.Builder
		r := &report{arch: "armhf", out: &out}
		text := k.text
		if k.err != nil {
			text = "--- PASS: TestVM_Other (0.10s)\n"
		}
		r.Write([]byte(text))
		r.done("hal/v4l2", plan.Result{Exit: k.exit, Duration: time.Minute})
		if k.err != nil {
			r.Write([]byte("=== RUN   TestVM_Next\n    vm_test.go:1: it begins\n"))
		}
		r.end(k.err)
		out.Reset()
		if code := summary(&out, []*report{r}); (code == 0) != (name == "none") || out.String() != k.want {
			t.Errorf("%s: exit %d\n%s\nwant\n%s", name, code, out.String(), k.want)
		}
	}
}
