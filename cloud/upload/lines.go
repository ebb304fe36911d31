package upload

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// minBandwidth is the smallest cap: below it, a TLS handshake takes too long.
const minBandwidth = 4000

// burst is how much the cap lets through at once, in bytes.
const burst = 16 << 10

// lines makes the connections to the store. Together they keep to the cap, with
// all that goes over them, and each tells whether anything moves on it.
type lines struct {
	limit *rate.Limiter // nil: no cap
	queue int           // bytes that the kernel may hold back, 0: as it likes
}

func newLines(bandwidth int64) *lines {
	if bandwidth == 0 {
		return &lines{}
	}
	return &lines{
		limit: rate.NewLimiter(rate.Limit(bandwidth), int(min(burst, bandwidth))),
		// What a full queue lets go at once when the uplink comes back is a burst, too.
		queue: int(max(burst, bandwidth/2)),
	}
}

// line is one TCP connection.
type line struct {
	net.Conn
	limit *rate.Limiter
	open  context.Context
	close context.CancelFunc
	moved atomic.Int64 // bytes read and written by us
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func (ls *lines) dial(d dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok && ls.queue > 0 {
			tcp.SetWriteBuffer(ls.queue)
		}
		l := &line{Conn: c, limit: ls.limit}
		l.open, l.close = context.WithCancel(context.Background()) // a connection outlives its first request
		return l, nil
	}
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.moved.Add(int64(n))
	return n, err
}

// Write sends in steps so small that the cap holds in bursts, too.
func (l *line) Write(p []byte) (n int, err error) {
	if l.limit == nil {
		n, err = l.Conn.Write(p)
		l.moved.Add(int64(n))
		return n, err
	}
	for n < len(p) && err == nil {
		step := min(len(p)-n, l.limit.Burst())
		if err = l.limit.WaitN(l.open, step); err == nil {
			step, err = l.Conn.Write(p[n : n+step])
			l.moved.Add(int64(step))
			n += step
		}
	}
	return n, err
}

func (l *line) Close() error {
	l.close()
	return l.Conn.Close()
}

// lineOf finds the line below TLS; nil if there is none.
func lineOf(c net.Conn) *line {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	l, _ := c.(*line)
	return l
}

// progress is a number that grows when bytes move, the kernel's send queue
// included: a megabyte in it may be on its way for minutes.
func (l *line) progress() int64 {
	if l == nil {
		return 0
	}
	return l.moved.Load() - int64(queued(l.Conn))
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

// stalled calls give up if too little moves on the line within the limit.
// Progress, not total time, decides: a slow uplink is no fault. The time to get
// a line has limits of its own.
func stalled(stop <-chan struct{}, limit time.Duration, on func() *line, giveUp func()) {
	tick := time.NewTicker(limit / 8)
	defer tick.Stop()
	var l *line
	last, since := int64(0), time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := on()
		if moved := now.progress(); now == nil || now != l || moved-last >= leastProgress {
			l, last, since = now, moved, time.Now()
		} else if time.Since(since) >= limit {
			giveUp()
			return
		}
	}
}
