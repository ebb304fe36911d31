package pipe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// session is one run of a sidecar, from its start until its process is gone.
// One goroutine reads it, and ends its process.
type session struct {
	name  string
	waits waits
	child *child
	in    *os.File // its standard input
	out   *os.File // its standard output
	clock clock
	log   *zap.Logger

	greeted chan struct{} // closed once hello is set
	hello   hello
	done    chan struct{} // closed once err is set
	gone    chan struct{} // closed once its process is gone

	buttons *feed[hal.ButtonEvent]
	motion  *feed[hal.MotionEvent]

	writing sync.Mutex // one message after the other

	mu     sync.Mutex
	err    error // why it is over
	number uint16
	calls  map[uint16]*call
	lanes  []*lane // as the hello's streams
	mic    *recording
	talk   *playback
}

// call is a command that waits for its reply.
type call struct {
	text   string
	accept func([]byte) error // called in the order of messages, before anything that follows the reply
	answer chan answer
}

type answer struct {
	body []byte
	err  error
}

// maxCalls bounds the commands that wait for a reply.
const maxCalls = 64

func newSession(argv []string, w waits) (*session, error) {
	c, err := newClock()
	if err != nil {
		return nil, err
	}
	return &session{
		name: fmt.Sprintf("sidecar %q", filepath.Base(argv[0])), waits: w, clock: c,
		greeted: make(chan struct{}), done: make(chan struct{}), gone: make(chan struct{}),
		buttons: newFeed[hal.ButtonEvent](), motion: newFeed[hal.MotionEvent](),
		calls: map[uint16]*call{},
	}, nil
}

// startSession starts the program, and the goroutine that reads it.
func startSession(argv []string, w waits, log *zap.Logger) (*session, error) {
	s, err := newSession(argv, w)
	if err != nil {
		return nil, err
	}
	in, out, err := s.pipes()
	if err != nil {
		return nil, err
	}
	s.log = log
	if s.child, err = startChild(argv, in, out, log); err != nil {
		return nil, errors.Join(err, s.in.Close(), s.out.Close())
	}
	go s.run()
	return s, nil
}

// pipes makes both pipes, and returns the ends that are the child's.
func (s *session) pipes() (in, out *os.File, err error) {
	if in, s.in, err = os.Pipe(); err != nil {
		return nil, nil, err
	}
	if s.out, out, err = os.Pipe(); err != nil {
		return nil, nil, errors.Join(err, in.Close(), s.in.Close())
	}
	return in, out, nil
}

// run reads until the end, and leaves nothing behind.
func (s *session) run() {
	defer close(s.gone)
	err := s.consume(&reader{from: bufio.NewReaderSize(s.out, 64<<10)})
	s.in.Close() // whatever it wants to clean up, it does now
	grace, where := time.Duration(0), ""
	switch {
	case errors.Is(err, io.EOF):
		grace = stopWait
	case errors.Is(err, io.ErrUnexpectedEOF):
		where = " in the middle of a message (" + err.Error() + "),"
	case !errors.Is(err, os.ErrDeadlineExceeded): // which is what kill and close make of it
		s.fail(fmt.Errorf("%w: %s: %w%s", hal.ErrGone, s.name, err, s.child.lastSaid()))
	}
	how := s.child.end(grace)
	s.out.Close()
	s.fail(s.child.gone(s.name+where, how))                // if nothing else was the reason
	if why := s.reason(); !errors.Is(why, hal.ErrClosed) { // nobody may be reading who could tell it
		s.log.Warn("the sidecar is gone", zap.Error(why))
	}
}

// consume handles messages until an error.
func (s *session) consume(r *reader) error {
	for {
		m, err := r.next()
		if err != nil {
			return err
		}
		if err := s.handle(m, time.Now()); err != nil {
			return err
		}
	}
}

// fail ends the session with its reason, the first one.
func (s *session) fail(why error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = why
	lanes, mic, talk := slices.Clone(s.lanes), s.mic, s.talk
	s.mu.Unlock()
	close(s.done)
	s.buttons.end(why)
	s.motion.end(why)
	for _, l := range lanes {
		if l != nil {
			l.feed.end(why)
		}
	}
	if mic != nil {
		mic.feed.end(why)
	}
	if talk != nil {
		talk.fail(why)
	}
}

// kill ends a session that can't be trusted to end by itself.
func (s *session) kill(why error) {
	s.fail(why)
	_ = s.out.SetReadDeadline(time.Unix(1, 0))
}

// close ends the session in peace: the closed input tells the sidecar to clean
// up, and what it still writes is read, so that it is not stuck in a write.
func (s *session) close() {
	s.fail(fmt.Errorf("%s: %w", s.name, hal.ErrClosed))
	s.in.Close()
	_ = s.out.SetReadDeadline(time.Now().Add(stopWait))
	<-s.gone
}

// reason tells why the session is over; nil: it is not.
func (s *session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// send writes one message. A sidecar that doesn't read is ended.
func (s *session) send(m message) error {
	if err := s.reason(); err != nil {
		return err
	}
	b := m.append(make([]byte, 0, headerSize+len(m.body)))
	s.writing.Lock()
	_ = s.in.SetWriteDeadline(time.Now().Add(s.waits.reply))
	_, err := s.in.Write(b)
	s.writing.Unlock()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.kill(fmt.Errorf("%w: %s has not read its standard input for %v", hal.ErrGone, s.name, s.waits.reply))
	case errors.Is(err, syscall.EPIPE) && within(s.done, stopWait): // it ended, and the reader knows how
	default:
		s.kill(fmt.Errorf("%w: %s: writing to its standard input: %w", hal.ErrGone, s.name, err))
	}
	return s.reason()
}

// ask sends a command and waits for its reply. A sidecar that gives none is ended.
func (s *session) ask(ctx context.Context, text string, accept func([]byte) error) ([]byte, error) {
	c := &call{text: text, accept: accept, answer: make(chan answer, 1)}
	n, err := s.register(c)
	if err != nil {
		return nil, err
	}
	defer s.unregister(n)
	if err := s.send(message{kind: msgCommand, number: n, body: []byte(text)}); err != nil {
		return nil, err
	}
	t := time.NewTimer(s.waits.reply)
	defer t.Stop()
	select {
	case a := <-c.answer:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
	case <-t.C:
		s.kill(fmt.Errorf("%w: %s did not answer %q within %v", hal.ErrGone, s.name, text, s.waits.reply))
	}
	return nil, s.reason()
}

// tell sends a command without waiting: number 0 asks for no reply.
func (s *session) tell(text string) { _ = s.send(message{kind: msgCommand, body: []byte(text)}) }

func (s *session) register(c *call) (uint16, error) {
	if len(c.text) > maxCommand {
		return 0, fmt.Errorf("%s: %w: a command of %d bytes, want at most %d", s.name, hal.ErrArgument, len(c.text), maxCommand)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) >= maxCalls {
		return 0, fmt.Errorf("%s: %w: %d commands wait for a reply", s.name, hal.ErrBusy, maxCalls)
	}
	for {
		s.number++
		if s.number != 0 && s.calls[s.number] == nil {
			s.calls[s.number] = c
			return s.number, nil
		}
	}
}

func (s *session) unregister(n uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, n)
}

// leave takes the place of a stream that is being closed.
func (s *session) leave(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.lanes {
		if s.lanes[i] == l {
			s.lanes[i] = nil
		}
	}
}
