package upload

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lines are the open connections to the store; they tell whether anything moves.
// Progress, not total time, decides about giving up: a slow uplink is no fault.
type lines struct {
	moved atomic.Int64 // bytes read and written by us on all lines

	mu   sync.Mutex
	open map[*line]struct{}
}

// line is one TCP connection.
type line struct {
	net.Conn
	all *lines
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.all.moved.Add(int64(n))
	return n, err
}

func (l *line) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	l.all.moved.Add(int64(n))
	return n, err
}

func (l *line) Close() error {
	l.all.mu.Lock()
	delete(l.all.open, l)
	l.all.mu.Unlock()
	return l.Conn.Close()
}

func (ls *lines) dial(d *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l := &line{c, ls}
		ls.mu.Lock()
		defer ls.mu.Unlock()
		if ls.open == nil {
			ls.open = map[*line]struct{}{}
		}
		ls.open[l] = struct{}{}
		ls.moved.Add(1)
		return l, nil
	}
}

// progress is a number that changes when bytes move, the kernel's send queues
// included: a megabyte in them may be on its way for minutes.
func (ls *lines) progress() int64 {
	n := ls.moved.Load()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for l := range ls.open {
		n -= int64(queued(l.Conn))
	}
	return n
}

// queued is what the other side has not acknowledged yet.
func queued(c net.Conn) (n int) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// leastProgress is what must move within the stall time; a store that takes or
// gives a byte a second holds up the alarms behind it as a dead one does.
const leastProgress = 1 << 10

// watch calls stalled if there is too little progress within the given time.
func (ls *lines) watch(stop <-chan struct{}, limit time.Duration, stalled func()) {
	tick := time.NewTicker(limit / 8)
	defer tick.Stop()
	last, since := ls.progress(), time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if now := ls.progress(); now-last >= leastProgress {
			last, since = now, time.Now()
		} else if time.Since(since) >= limit {
			stalled()
			return
		}
	}
}
