package pipe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// FramedConfig makes the board of a sidecar: one program, a camera vendor's as
// a rule, that serves the whole camera over its standard input and output by
// the protocol of docs/sidecar.md.
type FramedConfig struct {
	// Command is the program and its arguments, without a shell. The program is
	// looked up in PATH.
	Command []string
	Log     *zap.Logger // nil: silent
}

// waits are how long is waited for a sidecar.
type waits struct {
	hello   time.Duration
	reply   time.Duration // and for a message to be read
	between time.Duration // one start and the next
}

var usualWaits = waits{hello: 10 * time.Second, reply: 5 * time.Second, between: time.Second}

// Framed is the board of one sidecar. Its methods may be called from any
// goroutine.
type Framed struct {
	argv  []string
	log   *zap.Logger
	waits waits
	hello hello // the first one
	parts []any

	turn   chan struct{} // held by who looks for, or starts, a sidecar
	closed chan struct{}
	once   sync.Once

	// With turn alone.
	started time.Time

	setting sync.Mutex // one after the other, so that the last one is the one that is kept

	mu      sync.Mutex
	session *session // the newest; nil before the first
	kept    []kept
}

// kept is a setting that is made again when the sidecar was started anew.
type kept struct{ key, command string }

var (
	_ hal.Board = (*Framed)(nil)
	_ hal.Parts = (*Framed)(nil)
)

// NewFramed starts the sidecar and waits for its hello, 10 s at most: what the
// board and its parts can do is what the hello says. If the sidecar ends or
// hangs, everything that is open ends with [hal.ErrGone], and the next call that
// needs it starts it anew, at most once a second, and makes the settings again.
func NewFramed(ctx context.Context, c FramedConfig) (hal.Board, error) {
	b, err := newFramed(ctx, c, usualWaits)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func newFramed(ctx context.Context, c FramedConfig, w waits) (*Framed, error) {
	if len(c.Command) == 0 {
		return nil, errors.New("sidecar board: no command")
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if _, err := exec.LookPath(c.Command[0]); errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("sidecar board: %w: program %q", hal.ErrNotFound, c.Command[0])
	}
	b := &Framed{
		argv: slices.Clone(c.Command), log: c.Log, waits: w,
		turn: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	s, err := b.up(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sidecar board: %w", err), b.Close())
	}
	b.hello = s.hello
	b.parts = b.abilities()
	return b, nil
}

// Info implements [hal.Board].
func (b *Framed) Info() hal.Info { return hal.Info{Board: "pipe", Model: b.hello.Model} }

// Streams implements [hal.Board].
func (b *Framed) Streams() []hal.StreamInfo { return slices.Clone(b.hello.Streams) }

// Parts implements [hal.Parts]: what the sidecar said that it can.
func (b *Framed) Parts() []any { return slices.Clone(b.parts) }

// OpenVideo implements [hal.Board]. If the sidecar is not running it is started.
func (b *Framed) OpenVideo(ctx context.Context, name string, want hal.VideoConfig) (hal.VideoStream, error) {
	i := slices.IndexFunc(b.hello.Streams, func(s hal.StreamInfo) bool { return s.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("sidecar board: %w: %q", hal.ErrNoStream, name)
	}
	s, err := b.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("sidecar board, stream %q: %w", name, err)
	}
	l := newLane(s, name)
	_, err = s.ask(ctx, "start "+name+" "+wishText(want), func(answer []byte) error {
		c, err := parseConfig(answer)
		l.gather.setKnown(c)
		s.lanes[i] = l
		return err
	})
	if err != nil {
		s.leave(l)
		if ctx.Err() != nil {
			s.tell("stop " + name) // it may have started meanwhile
		}
		return nil, fmt.Errorf("sidecar board, stream %q: %w", name, err)
	}
	return l, nil
}

// Close implements [hal.Board]; it waits until the sidecar is gone.
func (b *Framed) Close() error {
	b.once.Do(func() {
		close(b.closed)
		b.turn <- struct{}{} // kept: a start in progress has been given up
		if s := b.current(); s != nil {
			s.close()
		}
	})
	return nil
}

func (b *Framed) current() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session
}

// running returns the sidecar if it runs.
func (b *Framed) running() (*session, error) {
	s := b.current()
	return s, s.reason()
}

// up returns the running sidecar; if there is none it starts one.
func (b *Framed) up(ctx context.Context) (*session, error) {
	if s := b.current(); s != nil && s.reason() == nil {
		return s, nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-b.closed:
		return nil, hal.ErrClosed
	}
	old := b.current()
	if old != nil && old.reason() == nil { // somebody else started it
		return old, nil
	}
	if err := b.rest(ctx, old); err != nil {
		return nil, err
	}
	return b.start(ctx)
}

// rest waits until the old sidecar is gone, and for the time from one start to
// the next, so that many who want it make no storm of starts.
func (b *Framed) rest(ctx context.Context, old *session) error {
	if old == nil {
		return nil
	}
	t := time.NewTimer(time.Until(b.started.Add(b.waits.between)))
	defer t.Stop()
	gone, due := old.gone, t.C
	for gone != nil || due != nil {
		select {
		case <-gone:
			gone = nil
		case <-due:
			due = nil
		case <-ctx.Done():
			return ctx.Err()
		case <-b.closed:
			return hal.ErrClosed
		}
	}
	return nil
}

func (b *Framed) start(ctx context.Context) (*session, error) {
	b.started = time.Now()
	s, err := startSession(b.argv, b.waits, b.log)
	if err != nil {
		return nil, err
	}
	if err := b.welcome(ctx, s); err != nil {
		s.kill(err)
		<-s.gone
		return nil, s.reason()
	}
	b.mu.Lock()
	b.session = s
	b.mu.Unlock()
	return s, nil
}

// welcome waits for the hello, and brings a sidecar that was started anew to
// where the one before it was.
func (b *Framed) welcome(ctx context.Context, s *session) error {
	t := time.NewTimer(b.waits.hello)
	defer t.Stop()
	select {
	case <-s.greeted:
	case <-s.done:
		return s.reason()
	case <-t.C:
		return fmt.Errorf("%w: %s sent no hello within %v%s", hal.ErrGone, s.name, b.waits.hello, s.child.lastSaid())
	case <-ctx.Done():
		return ctx.Err()
	case <-b.closed:
		return hal.ErrClosed
	}
	if b.current() == nil {
		return nil
	}
	if err := b.hello.same(s.hello); err != nil {
		return fmt.Errorf("%s was started anew: %w", s.name, err)
	}
	for _, k := range b.settings() {
		if _, err := s.ask(ctx, k.command, nil); err != nil && s.reason() != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *Framed) settings() []kept {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept)
}

// do sends a command to the sidecar, which is started if need be, and returns
// its answer.
func (b *Framed) do(ctx context.Context, format string, args ...any) ([]byte, error) {
	s, err := b.up(ctx)
	if err != nil {
		return nil, fmt.Errorf("sidecar board: %w", err)
	}
	return s.ask(ctx, fmt.Sprintf(format, args...), nil)
}

// set sends a setting; its first words are what it sets, which a later one
// replaces.
func (b *Framed) set(words int, format string, args ...any) ([]byte, error) {
	b.setting.Lock()
	defer b.setting.Unlock()
	answer, err := b.do(context.Background(), format, args...)
	if err != nil {
		return nil, err
	}
	command := fmt.Sprintf(format, args...)
	key := strings.Join(strings.Fields(command)[:words], " ")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = slices.DeleteFunc(b.kept, func(k kept) bool { return k.key == key })
	b.kept = append(b.kept, kept{key, command})
	return answer, nil
}
