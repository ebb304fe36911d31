package pipe

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"iid2secure.nl/camagent/hal"
)

// handle takes one message of the sidecar, in the goroutine that reads it: it
// never waits for a consumer. An error ends the sidecar.
func (s *session) handle(m message, now time.Time) error {
	if m.kind == msgHello {
		return s.greet(m)
	}
	select {
	case <-s.greeted:
	default:
		return broken("its first message is of type %d, want hello (%d)", m.kind, msgHello)
	}
	if m.kind == msgEvent && len(m.body) > maxCommand {
		return broken("an event of %d bytes, want at most %d", len(m.body), maxCommand)
	}
	switch m.kind {
	case msgVideo:
		return s.video(m, now)
	case msgSound:
		return s.sound(m, now)
	case msgReply:
		return s.reply(m)
	case msgEvent:
		return s.event(m, now)
	}
	return nil // of a later version
}

func (s *session) greet(m message) error {
	select {
	case <-s.greeted:
		return broken("a second hello")
	default:
	}
	h, err := parseHello(m.body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.hello, s.lanes = h, make([]*lane, len(h.Streams))
	s.mu.Unlock()
	close(s.greeted)
	return nil
}

func (s *session) video(m message, now time.Time) error {
	if int(m.detail) >= len(s.hello.Streams) {
		return broken("video of stream number %d, its hello names %d", m.detail, len(s.hello.Streams))
	}
	s.mu.Lock()
	l := s.lanes[m.detail]
	s.mu.Unlock()
	if l == nil {
		return nil // what was on its way when the stream was closed
	}
	at, err := s.clock.time(m.stamp, now)
	if err != nil {
		err = fmt.Errorf("%w: %w", hal.ErrGarbage, err)
	} else {
		err = l.take(m, at)
	}
	if err != nil {
		s.leave(l)
		l.feed.end(fmt.Errorf("%s: %w", s.name, err))
	}
	return nil
}

// reply hands an answer to whom it belongs to; nobody may wait for it any more.
func (s *session) reply(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[m.number]
	if c == nil || s.err != nil {
		return nil
	}
	delete(s.calls, m.number)
	a := answer{body: bytes.Clone(m.body), err: replyError(s.name, c.text, m)}
	var err error
	if a.err == nil && c.accept != nil {
		err = c.accept(m.body)
		a.err = err
	}
	c.answer <- a
	return err
}

// replyError translates what a reply says.
func replyError(who, text string, m message) error {
	if m.detail == replyOK {
		return nil
	}
	kind := hal.ErrGone
	switch m.detail {
	case replyNotFound:
		kind = hal.ErrNotFound
	case replyBusy:
		kind = hal.ErrBusy
	case replyUnknown:
		kind = hal.ErrUnable
	}
	return fmt.Errorf("%s refused %q: %w: %s", who, text, kind, oneLine(m.body))
}

// oneLine makes text of the sidecar fit for an error.
func oneLine(b []byte) string {
	b = b[:min(len(b), maxLine)]
	return strings.Join(strings.Fields(strings.ToValidUTF8(string(b), "?")), " ")
}

// maxEvents bounds the events that wait for a reader; the oldest are forgotten.
const maxEvents = 32

// event handles what happened. Kinds of a later version are ignored.
func (s *session) event(m message, now time.Time) error {
	at, err := s.clock.time(m.stamp, now)
	if err != nil {
		return broken("event %q: %w", m.body, err)
	}
	f := strings.Fields(string(m.body))
	if len(f) == 0 {
		return broken("an empty event")
	}
	switch f[0] {
	case "button":
		return s.button(f[1:], at)
	case "motion":
		if len(f) != 2 || s.hello.Motion == nil || !isSwitch(f[1]) {
			return broken(`event %q, want "motion" and 0 or 1, and motion in the hello`, oneLine(m.body))
		}
		s.motion.put(hal.MotionEvent{Time: at, Active: f[1] == "1"}, maxEvents)
	case "ended":
		return s.ended(f[1:])
	}
	return nil
}

func isSwitch(text string) bool { return text == "0" || text == "1" }

func (s *session) button(f []string, at time.Time) error {
	if len(f) != 2 || !slices.Contains(s.hello.Buttons, f[0]) || !isSwitch(f[1]) {
		return broken(`event button %q, want one of the buttons %q and 0 or 1`, f, s.hello.Buttons)
	}
	s.buttons.put(hal.ButtonEvent{Button: f[0], Pressed: f[1] == "1", Time: at}, maxEvents)
	return nil
}

// ended: a stream, the microphone or the speaker failed, and the sidecar lives on.
func (s *session) ended(f []string) error {
	if len(f) == 0 {
		return broken(`event "ended" without a name`)
	}
	why := fmt.Errorf("%w: %s: %s", hal.ErrGone, s.name, oneLine([]byte(strings.Join(f[1:], " "))))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch i := slices.IndexFunc(s.hello.Streams, func(i hal.StreamInfo) bool { return i.Name == f[0] }); {
	case i >= 0 && s.lanes[i] != nil:
		s.lanes[i].feed.end(why)
		s.lanes[i] = nil
	case f[0] == "microphone" && s.mic != nil:
		s.mic.feed.end(why)
		s.mic = nil
	case f[0] == "speaker" && s.talk != nil:
		s.talk.fail(why)
		s.talk = nil
	}
	return nil
}
