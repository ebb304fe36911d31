package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
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
	wrong  []string // what failed, and what it said last
	took   time.Duration
}

// counts are of tests, without their subtests.
type counts struct{ passed, failed, skipped int }

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+).*\n?`)

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

// ending is how much is said again, at the end of the run, of what failed.
const ending = 15

// wrong lists the tests that failed or were skipped, each with the last lines that
// it wrote; without any, what the program wrote last, or of what it died.
func wrong(text []byte) (list []string) {
	at := 0
	for _, m := range verdict.FindAllSubmatchIndex(text, -1) {
		if what := string(text[m[2]:m[3]]); what != "PASS" {
			list = append(list, fmt.Sprintf("%s %s\n%s", what, text[m[4]:m[5]], last(text[at:m[0]])))
		}
		at = m[1]
	}
	if len(list) > 0 {
		return list
	}
	own, _, _ := bytes.Cut(text, []byte("guest: the end of the kernel's log"))
	if i := crash.FindIndex(own); i != nil { // what follows are stacks, long ones
		lines := bytes.SplitAfterN(own[i[0]:], []byte("\n"), ending+1)
		own = bytes.Join(lines[:min(ending, len(lines))], nil)
	}
	return []string{last(own)}
}

var crash = regexp.MustCompile(`(?m)^(panic|fatal error): `)

// last is the end of what a test wrote, without what go test itself says.
func last(text []byte) string {
	var lines []string
	for l := range strings.Lines(string(text)) {
		if !strings.HasPrefix(l, "=== ") {
			lines = append(lines, strings.TrimRight(l, "\n")+"\n")
		}
	}
	return strings.Join(lines[max(0, len(lines)-ending):], "")
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
		for _, w := range wrong(r.text.Bytes()) {
			r.wrong = append(r.wrong, fmt.Sprintf("==    %s %s: %s", r.arch, name, w))
		}
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
	r.wrong = append(r.wrong, fmt.Sprintf("==    %s: %v\n%s", r.arch, err, last(r.text.Bytes())))
	fmt.Fprintf(r.out, "==    %s\n%sFAIL  %v\n", r.arch, r.text.Bytes(), err)
}
