package peripheral

import "time"

// debouncer turns the edges of a contact into presses: a level counts once it
// lasted.
type debouncer struct {
	still   time.Duration
	state   bool // that was told
	pending bool
	first   time.Time // edge of the present unrest
	last    time.Time
}

// edge notes a change of the line.
func (d *debouncer) edge(at time.Time) {
	if !d.pending {
		d.pending, d.first = true, at
	}
	if at.After(d.last) {
		d.last = at
	}
}

// due is when the line is to be looked at again; false: when it changes.
func (d *debouncer) due() (time.Time, bool) { return d.last.Add(d.still), d.pending }

// settle takes the level at now; true if there is something to tell, which
// happened at first.
func (d *debouncer) settle(level bool, now time.Time) bool {
	if at, ok := d.due(); !ok || now.Before(at) {
		return false
	}
	d.pending = false
	changed := level != d.state
	d.state = level
	return changed
}
