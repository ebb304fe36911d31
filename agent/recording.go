package agent

import (
	"slices"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/media/clip"
)

// decider decides what is recorded and why, from settings, schedule, commands and
// events. It is a plain state machine: it reads no clock, holds no lock and starts
// nothing. The order of precedence: an event, a command, the mode.
type decider struct {
	preRoll, postRoll time.Duration
	newID             func() string

	mode    string    // in force; "": unbound
	since   time.Time // when pictures may be kept for an event: the mode is not off
	started bool      // recording.start is in force
	until   time.Time // and ends; zero: with recording.stop
	lasting []signal  // events that last, oldest first
	event   *event    // nil: none
	last    clip.Order
}

// signal is one thing that has begun, and not ended.
type signal struct {
	kind string
	at   time.Time
}

// event is what overlapping signals, each with the time after it, make together.
type event struct {
	id, kind string
	at       time.Time
	ends     time.Time // zero: a signal lasts
}

// decision is what the recorder is to follow.
type decision struct {
	order   clip.Order
	since   time.Time // zero: now
	changed bool      // it is another one than before
	forget  time.Time // what was captured before is not to be kept: the mode was off; zero: nothing new
	next    time.Time // when it may be another one by itself; zero: never
}

// begin: something happens since at. Again while it lasts it changes nothing.
func (d *decider) begin(kind string, at time.Time) {
	if !slices.ContainsFunc(d.lasting, func(s signal) bool { return s.kind == kind }) {
		d.lasting = append(d.lasting, signal{kind, at})
	}
}

// end: it goes on no more since at.
func (d *decider) end(kind string, at time.Time) {
	n := len(d.lasting)
	d.lasting = slices.DeleteFunc(d.lasting, func(s signal) bool { return s.kind == kind })
	if n > 0 && len(d.lasting) == 0 && d.event != nil {
		d.event.ends = at.Add(d.postRoll)
	}
}

// start records on command, for a while or (0) until stop.
func (d *decider) start(now time.Time, long time.Duration) {
	d.started, d.until = true, time.Time{}
	if long > 0 {
		d.until = now.Add(long)
	}
}

func (d *decider) stop() { d.started = false }

// reset forgets commands and events: the camera has no owner.
func (d *decider) reset() { d.started, d.lasting, d.event = false, nil, nil }

// decide tells what holds at now, while the settings want mode ("": unbound).
// scheduled: the mode is that of the windows of a schedule.
func (d *decider) decide(now time.Time, mode string, scheduled bool) decision {
	off := !records(d.mode) && d.last.Trigger == ""
	if records(mode) && !records(d.mode) {
		d.since = now
	}
	d.mode = mode
	if mode == "" {
		d.reset()
	}
	ended := d.expire(now)
	if at, ok := d.beginEvent(now); ok {
		ended = at
	}
	out := decision{order: d.order(scheduled), since: ended, next: d.next()}
	out.changed = out.order != d.last
	if off && (records(mode) || out.order.Trigger != "") {
		out.forget = now
	}
	d.last = out.order
	return out
}

// records tells whether the mode keeps anything.
func records(mode string) bool {
	return mode == command.RecordContinuous || mode == command.RecordEvents
}

// expire ends what has had its time, and tells when it ended.
func (d *decider) expire(now time.Time) (ended time.Time) {
	if d.started && !d.until.IsZero() && !now.Before(d.until) {
		d.started, ended = false, d.until
	}
	switch e := d.event; {
	case e == nil:
	case !records(d.mode):
		d.event, ended = nil, time.Time{}
	case len(d.lasting) > 0:
		if !e.ends.IsZero() && d.lasting[0].at.After(e.ends) { // we were late: it was over, and another one began
			d.event, ended = nil, e.ends
		}
		e.ends = time.Time{}
	case !now.Before(e.ends):
		d.event, ended = nil, e.ends
	}
	return ended
}

// beginEvent makes an event of signals, and tells since when it is recorded: with
// pre-roll, unless something is recorded already, and never of a time when the
// mode was off.
func (d *decider) beginEvent(now time.Time) (since time.Time, begun bool) {
	if d.event != nil || len(d.lasting) == 0 || !records(d.mode) {
		return time.Time{}, false
	}
	first := d.lasting[0]
	since = first.at
	if since.After(now) {
		since = now
	}
	d.event = &event{id: d.newID(), kind: first.kind, at: since}
	if d.last.Trigger == "" || d.last.Event != "" {
		since = since.Add(-d.preRoll)
	}
	if since.Before(d.since) {
		since = d.since
	}
	return since, true
}

func (d *decider) order(scheduled bool) clip.Order {
	switch {
	case d.event != nil:
		return clip.Order{Trigger: d.event.kind, Event: d.event.id, Urgent: true}
	case d.started:
		return clip.Order{Trigger: triggerCommand}
	case d.mode == command.RecordContinuous && scheduled:
		return clip.Order{Trigger: triggerSchedule}
	case d.mode == command.RecordContinuous:
		return clip.Order{Trigger: triggerContinuous}
	}
	return clip.Order{}
}

// Triggers of clips that no event has.
const (
	triggerContinuous = "continuous"
	triggerSchedule   = "schedule"
	triggerCommand    = "command"
)

func (d *decider) next() (t time.Time) {
	if d.started {
		t = d.until
	}
	if e := d.event; e != nil && !e.ends.IsZero() && (t.IsZero() || e.ends.Before(t)) {
		t = e.ends
	}
	return t
}
