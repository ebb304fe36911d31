package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"time"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

// report collects what the tests in one machine say.
type report struct {
	arch    string
	out     io.Writer
	verbose bool

	text   bytes.Buffer // of the present package
	all    counts
	failed bool
	took   time.Duration
}

// counts are of tests, without their subtests.
type counts struct{ passed, failed, skipped int }

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): `)

func count(text []byte) (k counts) {
	for _, m := range verdict.FindAllSubmatch(text, -1) {
		switch string(m[1]) {
		case "PASS":
			k.passed++
		case "FAIL":
			k.failed++
		case "SKIP":
			k.skipped++
		}
	}
	return k
}

// Write takes the console.
func (r *report) Write(b []byte) (int, error) { return r.text.Write(b) }

// done ends a package. A package that skips, or has no test, has not been tested.
func (r *report) done(name string, res plan.Result) {
	k := count(r.text.Bytes())
	ok := res.Exit == 0 && k.failed == 0 && k.skipped == 0 && k.passed > 0
	verdict := "ok  "
	if !ok {
		verdict, r.failed = "FAIL", true
	}
	if !ok || r.verbose {
		fmt.Fprintf(r.out, "==    %s %s\n%s", r.arch, name, r.text.Bytes())
	}
	fmt.Fprintf(r.out, "%s  %-6s %-20s %3d passed, %d failed, %d skipped, exit %d, %5.1fs\n",
		verdict, r.arch, name, k.passed, k.failed, k.skipped, res.Exit, res.Duration.Seconds())
	r.text.Reset()
	r.all.passed += k.passed
	r.all.failed += k.failed
	r.all.skipped += k.skipped
	r.took += res.Duration
}

// end takes the end of the machine.
func (r *report) end(err error) {
	if err == nil {
		return
	}
	r.failed = true
	fmt.Fprintf(r.out, "==    %s\n%sFAIL  %v\n", r.arch, r.text.Bytes(), err)
}
