package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is one kind of thing that can happen; it numbers the table of actions.
type kind uint8

const (
	light kind = iota
	noisy
	cover
	traffic
	walker
	car
	tone
	loud
	glass
	silence
	press
	heat
	supply
	stall
	unplug
	garbage
	slow
	clockStep
	wrongSize
	pullCard
	kinds
)

// action is one row of the table from which the parser of scenarios, that of
// control lines, the help text and the checks of the documentation are made.
type action struct {
	name  string
	value *param  // what stands behind the name
	more  []param // by name
	lasts time.Duration
	brief bool // for can't be chosen
	help  string
}

// param is one argument: a word, a number or a time.
type param struct {
	name      string // in help
	words     []string
	low, high int
	span      time.Duration // the longest time
	back      bool          // the time may be negative
	free      bool          // may be left out
	usual     int64         // what it is then
	put       func(e *event, v int64)
}

var (
	buttons = []string{"reset", "doorbell"}
	sides   = []string{"left", "right"}
	onOff   = []string{"off", "on"}
)

func putValue(e *event, v int64) { e.value = int(v) }
func putSpan(e *event, v int64)  { e.span = time.Duration(v) }
func putLevel(e *event, v int64) { e.level = int(v) }

func number(name string, low, high int) *param {
	return &param{name: name, low: low, high: high, put: putValue}
}

func side() *param {
	return &param{name: "from", words: sides, free: true, put: putValue}
}

var loudness = param{name: "level", low: 1, high: 100, free: true, usual: 60, put: putLevel}

// longest bounds every time in a script.
const longest = 1000 * time.Hour

// actions is the table, in the order of the kinds.
var actions = [kinds]action{
	light: {name: "light", value: number("level", 0, 1000), help: "brightness of the scene: 800 is day, 20 dusk, 0 a moonless night",
		more: []param{{name: "over", span: longest, free: true, put: putSpan}}},
	noisy:     {name: "noise", value: number("percent", 0, 100), help: "so much of the picture gets fresh sensor noise in every frame"},
	cover:     {name: "cover", lasts: 10 * time.Second, help: "something covers the lens"},
	traffic:   {name: "traffic", value: &param{name: "on or off", words: onOff, put: putValue}, help: "the walker and the cars that are always there"},
	walker:    {name: "walk", value: side(), lasts: 20 * time.Second, help: "one more person walks through, from one side to the other"},
	car:       {name: "car", value: side(), lasts: 6 * time.Second, help: "one more car passes"},
	tone:      {name: "tone", value: number("hertz", 20, 3900), more: []param{loudness}, lasts: time.Second, help: "a steady tone"},
	loud:      {name: "loud", more: []param{loudness}, lasts: time.Second, help: "a noise like a shout or a machine"},
	glass:     {name: "glass", lasts: 600 * time.Millisecond, brief: true, help: "a pane breaks"},
	silence:   {name: "silence", lasts: 10 * time.Second, help: "nothing at all is heard, the beep included"},
	press:     {name: "press", value: &param{name: "button", words: buttons, put: putValue}, lasts: 200 * time.Millisecond, help: "a button is held down"},
	heat:      {name: "heat", value: number("°C", -40, 125), help: "temperature of the processor; 45 is usual"},
	supply:    {name: "supply", value: number("millivolts", 0, 60000), help: "supply voltage; 5000 is usual"},
	stall:     {name: "stall", lasts: 3 * time.Second, help: "the sensor gives no frames"},
	unplug:    {name: "unplug", lasts: 3 * time.Second, help: "camera module and microphone are gone"},
	garbage:   {name: "garbage", lasts: 500 * time.Millisecond, help: "what the device gives is no H.264"},
	slow:      {name: "slow", value: number("fps", 1, 30), lasts: 10 * time.Second, help: "frames come late, and so few a second; those in excess are lost"},
	clockStep: {name: "clock", value: &param{name: "step", span: time.Hour, back: true, put: putSpan}, brief: true, help: "the clock of the device jumps, for streams that are open"},
	wrongSize: {name: "wrong", lasts: 10 * time.Second, help: "the device starts anew and gives pictures of another size than it says"},
	pullCard:  {name: "pullcard", lasts: 10 * time.Second, help: "the memory card is out"},
}

// named finds the kind of action.
func named(name string) (kind, bool) {
	i := slices.IndexFunc(actions[:], func(a action) bool { return a.name == name })
	return kind(max(i, 0)), i >= 0
}

func actionNames() string {
	var list []string
	for _, a := range actions {
		list = append(list, a.name)
	}
	return strings.Join(list, ", ")
}

// read converts one argument; what would be right is in the error.
func (p *param) read(text string) (int64, error) {
	switch {
	case p.words != nil:
		if i := slices.Index(p.words, text); i >= 0 {
			return int64(i), nil
		}
	case p.span > 0:
		if d, err := time.ParseDuration(text); err == nil && d <= p.span && (d >= 0 || p.back && d >= -p.span) {
			return int64(d), nil
		}
	default:
		if n, err := strconv.Atoi(text); err == nil && n >= p.low && n <= p.high {
			return int64(n), nil
		}
	}
	return 0, fmt.Errorf("%s is %q, want %s", p.name, text, p.want())
}

func (p *param) want() string {
	switch {
	case p.words != nil:
		return strings.Join(p.words, " or ")
	case p.back:
		return fmt.Sprintf("a time like 10s or -10s, at most %v", p.span)
	case p.span > 0:
		return fmt.Sprintf("a time like 10s, at most %v", p.span)
	}
	return fmt.Sprintf("a number from %d to %d", p.low, p.high)
}

// times are the keys that every action knows; those of a script alone last.
var (
	keyFor   = param{name: "for", span: longest}
	keyAt    = param{name: "at", span: longest}
	keyEvery = param{name: "every", span: longest}
)

// keys lists what may stand beside the action.
func (a *action) keys(script bool) []string {
	var list []string
	for _, p := range a.more {
		list = append(list, p.name)
	}
	if !a.brief {
		list = append(list, keyFor.name)
	}
	if script {
		list = append(list, keyAt.name, keyEvery.name)
	}
	return list
}

// Help describes all actions, a line each, as the control socket takes them.
func Help() string {
	var s strings.Builder
	for _, a := range actions {
		use := a.name
		if a.value != nil {
			use += " " + a.value.usage()
		}
		for _, p := range a.more {
			use += " [" + p.name + "=" + p.usage() + "]"
		}
		if !a.brief {
			use += " [for=" + cmp.Or(strings.TrimPrefix(a.lasts.String(), "0s"), "TIME") + "]"
		}
		fmt.Fprintf(&s, "%-44s %s\n", use, a.help)
	}
	fmt.Fprintf(&s, "%-44s %s\n%-44s %s\n", "state", "what can be seen of the board, as JSON", "help", "this list")
	return s.String()
}

func (p *param) usage() string {
	switch {
	case p.words != nil:
		return strings.Join(p.words, "|")
	case p.span > 0:
		return "TIME"
	}
	return fmt.Sprintf("%d..%d", p.low, p.high)
}
