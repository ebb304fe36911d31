package haltest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"iid2secure.nl/camagent/hal/sim"
)

// pipes is a listener of connections that stay in a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// tell makes something happen in a simulated board.
func tell(t *testing.T, b *sim.Board, line string) error {
	ctx, cancel := context.WithCancel(t.Context())
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- b.ServeControl(ctx, l) }()
	defer func() { cancel(); <-served }()
	ours, theirs := net.Pipe()
	defer ours.Close()
	l.conns <- theirs
	if _, err := fmt.Fprintln(ours, line); err != nil {
		return err
	}
	answer, err := bufio.NewReader(ours).ReadString('\n')
	if err == nil && !strings.HasPrefix(answer, "ok") {
		err = fmt.Errorf("sim: %s", answer)
	}
	return err
}
