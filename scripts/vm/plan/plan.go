// Package plan is what a virtual machine is told to do, and what it answers: the
// host writes a Plan into the machine's first file system, and the guest says
// on the console, in lines that begin with the plan's mark, how each step ended.
package plan

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// Path is where the guest finds its plan.
const Path = "/plan.json"

// Plan is all that one machine is to do.
type Plan struct {
	Mark    string    // begins the guest's own lines; can't be guessed by a program
	Time    time.Time // the guest's clock starts here
	Modules []Module  // in the order in which they are loaded
	Steps   []Step    // run one after the other; a failure stops nothing
}

// Module is one kernel module in the guest.
type Module struct{ Path, Parameters string }

// Step is one program.
type Step struct {
	Name string
	Dir  string   // its working folder
	Args []string // the first is the program's path
	Env  []string
}

// Result is how a step ended.
type Result struct {
	Step     int
	Exit     int // 128 and the signal's number if one ended it
	Duration time.Duration
}

// Read reads the guest's plan.
func Read() (Plan, error) {
	var p Plan
	b, err := os.ReadFile(Path)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}

// Encode returns the text of the file at Path.
func (p Plan) Encode() ([]byte, error) { return json.Marshal(p) }

// Say is the line by which the guest tells a result.
func (p Plan) Say(r Result) string {
	return fmt.Sprintf("%s step %d exit %d ms %d", p.Mark, r.Step, r.Exit, r.Duration.Milliseconds())
}

// Hear takes the guest's word out of a line of the console: it returns what a
// program wrote, and the result if the line tells one.
func (p Plan) Hear(line string) (program string, r Result, told bool) {
	program, own, found := strings.Cut(line, p.Mark) // a program may have left its last line open
	if !found {
		return line, r, false
	}
	var ms int64
	n, _ := fmt.Sscanf(own, " step %d exit %d ms %d", &r.Step, &r.Exit, &ms)
	r.Duration = time.Duration(ms) * time.Millisecond
	return program, r, n == 3
}
