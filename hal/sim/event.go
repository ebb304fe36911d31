package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// event is one thing that happens, once or again and again.
type event struct {
	kind             kind
	at, lasts, every time.Duration // lasts 0: for good, or until it comes again
	value            int           // a number, or which of the words
	level            int
	span             time.Duration
	live             bool // by the control socket
	from             int  // live: where span begins
}

// field is a key with its value, of a scenario or a control line.
type field struct {
	key, value string
	line       int
}

// problem is one mistake in a file.
type problem struct {
	line int
	text string
}

// build makes an event of fields, of which one is the action.
func build(fields []field, line int, script bool) (e event, bad []problem) {
	k, ok, bad := choose(fields, line)
	if !ok {
		return e, bad
	}
	is := &actions[k]
	e.kind, e.lasts = k, is.lasts
	for _, p := range is.params() {
		p.put(&e, p.usual)
	}
	for _, f := range fields {
		if err := is.set(&e, f, script); err != nil {
			bad = append(bad, problem{f.line, err.Error()})
		}
	}
	if len(bad) == 0 && e.every > 0 && e.lasts > e.every {
		bad = append(bad, problem{line, fmt.Sprintf("%s lasts %v, but comes again every %v: want a shorter for", is.name, e.lasts, e.every)})
	}
	return e, bad
}

// choose finds the one action among fields.
func choose(fields []field, line int) (is kind, found bool, bad []problem) {
	seen := map[string]bool{}
	stranger := problem{line, "no action"}
	for _, f := range fields {
		k, ok := named(f.key)
		switch {
		case seen[f.key]:
			bad = append(bad, problem{f.line, f.key + " stands twice"})
		case ok && found:
			bad = append(bad, problem{f.line, fmt.Sprintf("%s and %s in one entry: give each its own", actions[is].name, f.key)})
		case ok:
			is, found = k, true
		case stranger.text == "no action" && f.key != keyAt.name && f.key != keyFor.name && f.key != keyEvery.name:
			stranger = problem{f.line, fmt.Sprintf("%q is no action", f.key)}
		}
		seen[f.key] = true
	}
	if !found {
		stranger.text += ": want one of " + actionNames()
		bad = append(bad, stranger)
	}
	return is, found, bad
}

func (a *action) params() []param {
	if a.value == nil {
		return a.more
	}
	return append([]param{*a.value}, a.more...)
}

// The shortest times: what is shorter could not be seen, or asks too much.
const (
	shortestFor   = 10 * time.Millisecond
	shortestEvery = 100 * time.Millisecond
)

// set takes one field.
func (a *action) set(e *event, f field, script bool) error {
	switch {
	case f.key == a.name:
		return a.setValue(e, f.value)
	case f.key == keyFor.name && !a.brief:
		return setTime(&e.lasts, &keyFor, f.value, shortestFor)
	case f.key == keyAt.name && script:
		return setTime(&e.at, &keyAt, f.value, 0)
	case f.key == keyEvery.name && script:
		return setTime(&e.every, &keyEvery, f.value, shortestEvery)
	}
	for i := range a.more {
		p := &a.more[i]
		if p.name != f.key {
			continue
		}
		v, err := p.read(f.value)
		if err == nil {
			p.put(e, v)
		}
		return err
	}
	if _, ok := named(f.key); ok {
		return nil // told already
	}
	keys := a.keys(script)
	if len(keys) == 0 {
		return fmt.Errorf("unknown key %q: %s takes none", f.key, a.name)
	}
	return fmt.Errorf("unknown key %q: %s takes %s", f.key, a.name, strings.Join(keys, ", "))
}

func (a *action) setValue(e *event, text string) error {
	switch {
	case a.value == nil && text != "":
		return fmt.Errorf("%s is %q, want nothing behind it", a.name, text)
	case a.value == nil, a.value.free && text == "":
		return nil
	}
	v, err := a.value.read(text)
	if err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	a.value.put(e, v)
	return nil
}

func setTime(to *time.Duration, p *param, text string, least time.Duration) error {
	v, err := p.read(text)
	if err != nil {
		return err
	}
	if d := time.Duration(v); d < least {
		return fmt.Errorf("%s is %v, want at least %v", p.name, d, least)
	}
	*to = time.Duration(v)
	return nil
}

// began is when the newest occurrence at or before t began.
func (e *event) began(t time.Duration) (time.Duration, bool) {
	if t < e.at {
		return 0, false
	}
	if e.every == 0 {
		return e.at, true
	}
	return t - (t-e.at)%e.every, true
}

// during tells whether the event goes on at t, and since when.
func (e *event) during(t time.Duration) (since time.Duration, ok bool) {
	since, ok = e.began(t)
	return since, ok && (e.lasts == 0 || t < since+e.lasts)
}

// border is the first begin or end after t.
func (e *event) border(t time.Duration) (time.Duration, bool) {
	since, ok := e.began(t)
	switch {
	case !ok:
		return e.at, true
	case e.lasts > 0 && since+e.lasts > t:
		return since + e.lasts, true
	case e.every > 0:
		return since + e.every, true
	}
	return 0, false
}

// timeline is all that happens to a board, by kind.
type timeline [kinds][]event

// active tells whether something of a kind goes on at t.
func (l *timeline) active(k kind, t time.Duration) bool {
	_, ok := l.newest(k, t)
	return ok
}

// newest is what began last of that which goes on at t.
func (l *timeline) newest(k kind, t time.Duration) (e *event, ok bool) {
	var last time.Duration
	for i := range l[k] {
		if since, goes := l[k][i].during(t); goes && (e == nil || since >= last) {
			e, last = &l[k][i], since
		}
	}
	return e, e != nil
}

// began finds something of a kind that began after one time, up to another.
func (l *timeline) began(k kind, after, until time.Duration) (*event, bool) {
	for i := range l[k] {
		if since, ok := l[k][i].began(until); ok && since > after {
			return &l[k][i], true
		}
	}
	return nil, false
}

// border is the first begin or end after t of one of some kinds; t plus an hour
// if there is none so soon.
func (l *timeline) border(t time.Duration, of ...kind) time.Duration {
	first := t + time.Hour
	for _, k := range of {
		for i := range l[k] {
			if at, ok := l[k][i].border(t); ok {
				first = min(first, at)
			}
		}
	}
	return first
}

// level is a number that an action sets, at t.
func (l *timeline) level(k kind, t time.Duration, usual int) int {
	e, ok := l.newest(k, t)
	if !ok {
		return usual
	}
	since, _ := e.during(t)
	if e.span == 0 || t-since >= e.span {
		return e.value
	}
	from := e.from
	if !e.live {
		from = usual
		if before, ok := l.newest(k, since-1); ok {
			from = before.value
		}
	}
	return from + int(float64(e.value-from)*float64(t-since)/float64(e.span))
}

// maxLive bounds what goes on at once by the control socket.
const maxLive = 64

// forget is how long what is over is kept, for readers that come late.
const forget = time.Minute

// add takes an event of the control socket, at its time.
func (l *timeline) add(e event) error {
	live := 0
	for k := range l {
		l[k] = slices.DeleteFunc(l[k], func(o event) bool {
			over := o.lasts > 0 && o.at+o.lasts+forget < e.at
			replaced := o.lasts == 0 && e.lasts == 0 && o.kind == e.kind
			return o.live && (over || replaced)
		})
		for _, o := range l[k] {
			if o.live {
				live++
			}
		}
	}
	if live >= maxLive {
		return fmt.Errorf("%d things go on already: wait until they are over", maxLive)
	}
	l[e.kind] = append(l[e.kind], e)
	return nil
}
