package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Bounds of the control socket: bytes of a request and of an answer, talkers at
// once, and how long one may keep silent.
const (
	maxRequest  = 512
	maxReply    = 64 << 10
	maxTalkers  = 8
	talkTimeout = 10 * time.Second
)

// Answers begin with one of these.
const (
	saidOK    = "ok"
	saidError = "error: "
)

// ServeControl lets actions be triggered in a running board, by [Ask], until ctx
// ends; it closes l, and returns nil then. Whoever can connect can do it: use a
// unix socket in a private folder.
func (b *Board) ServeControl(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var talkers sync.WaitGroup
	defer talkers.Wait()
	end := sync.OnceFunc(func() { l.Close() })
	defer end() // here as well: a client that came just then has Accept return before the other one
	defer cancel()
	stop := context.AfterFunc(ctx, end)
	defer stop()
	places := make(chan struct{}, maxTalkers)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("sim board: control socket: %w", err)
		}
		select {
		case places <- struct{}{}:
		default:
			c.Close()
			continue
		}
		talkers.Go(func() {
			defer func() { <-places }()
			b.talk(ctx, c)
		})
	}
}

// talk answers line for line.
func (b *Board) talk(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	in := bufio.NewReaderSize(c, maxRequest)
	for {
		if err := c.SetDeadline(time.Now().Add(talkTimeout)); err != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		answer := ""
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			answer = fmt.Sprintf("%sa request has at most %d bytes", saidError, maxRequest)
		case err != nil:
			return
		default:
			answer = b.answer(string(line))
		}
		if _, werr := io.WriteString(c, answer+"\n"); werr != nil || err != nil {
			return
		}
	}
}

// answer carries out one request.
func (b *Board) answer(line string) string {
	words := strings.Fields(line)
	if len(words) == 1 && words[0] == "state" {
		s, err := json.Marshal(b.State())
		if err != nil {
			return saidError + err.Error()
		}
		return saidOK + " " + string(s)
	}
	e, err := parseLine(words)
	if err == nil {
		err = b.act(e)
	}
	if err != nil {
		return saidError + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return saidOK
}

// parseLine makes an event of a control line: an action, its value, and more as
// key=value.
func parseLine(words []string) (event, error) {
	if len(words) == 0 {
		return event{}, fmt.Errorf("want an action: one of %s, or state", actionNames())
	}
	fields := []field{{key: words[0]}}
	for i, w := range words[1:] {
		key, value, pair := strings.Cut(w, "=")
		switch {
		case pair:
			fields = append(fields, field{key: key, value: value})
		case i == 0:
			fields[0].value = w
		default:
			return event{}, fmt.Errorf("%q: want key=value", w)
		}
	}
	e, bad := build(fields, 0, false)
	var errs []error
	for _, p := range bad {
		errs = append(errs, errors.New(p.text))
	}
	return e, errors.Join(errs...)
}

// act makes something happen now.
func (b *Board) act(e event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(b.start)
	e.live, e.at = true, now
	switch e.kind {
	case light:
		e.from = b.script.level(light, now, usualLight)
	case pullCard:
		if b.card.dir == "" {
			return errors.New("pullcard: this board has no card: it is the folder of Config.Card")
		}
	}
	if err := b.script.add(e); err != nil {
		return err
	}
	close(b.changed)
	b.changed = make(chan struct{})
	b.advance(now)
	if e.kind == pullCard {
		return b.card.err
	}
	return nil
}

// Ask sends one request to the board behind a control socket and returns its
// answer: {"unplug", "for=5s"} carries out an action, {"state"} returns the
// board's State as JSON, {"help"} lists the actions, without asking anybody.
func Ask(ctx context.Context, socketPath string, args []string) (string, error) {
	if len(args) == 0 || len(args) == 1 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
		return Help(), nil
	}
	if args[0] != "state" {
		if _, err := parseLine(args); err != nil {
			return "", err
		}
	}
	line := strings.Join(args, " ") + "\n"
	if len(line) > maxRequest || strings.Count(line, "\n") > 1 {
		return "", fmt.Errorf("a request is one line of at most %d bytes", maxRequest)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socketPath)
	if err != nil {
		return "", fmt.Errorf("is camagent running with the sim board? %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(talkTimeout)); err != nil {
		return "", err
	}
	reply, err := exchange(c, line)
	if err != nil {
		return "", fmt.Errorf("control socket %s: %w", socketPath, errors.Join(ctx.Err(), err))
	}
	if told, bad := strings.CutPrefix(reply, saidError); bad {
		return "", errors.New(told)
	}
	return strings.TrimSpace(strings.TrimPrefix(reply, saidOK)), nil
}

// exchange sends a line and reads one.
func exchange(c io.ReadWriter, line string) (string, error) {
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	reply, err := bufio.NewReader(io.LimitReader(c, maxReply)).ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(reply), nil
}
