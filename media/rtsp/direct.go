package rtsp

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// direct is a sink that can also be written to without waiting, so that the fan
// serves many viewers from one goroutine. A sink that must wait (for a pace, for
// a cipher) is none, and has its viewer served by a goroutine of its own.
type direct interface {
	sink
	// hold takes the connection for whole packets of the viewer; false: somebody
	// else has it, which is never so if wait is set. An error says why the viewer
	// has ended: then nothing is held.
	hold(wait bool) (bool, error)
	// sendNow sends what the connection takes at once, by the caller's writer, and
	// returns how much that was; less than all is no error. The caller holds it.
	sendNow(w *writer, b []byte) (int, error)
	// ready waits until the connection takes more, os.ErrDeadlineExceeded if it
	// did not for WriteTimeout. The caller holds it.
	ready() error
	release()
}

// plainSink sends on a connection that is nothing but TCP.
type plainSink struct {
	tcpSink
	over *atomic.Bool // the viewer was cancelled: nothing may follow
	raw  syscall.RawConn
}

func newPlainSink(v *viewer, c *conn) (*plainSink, error) {
	raw, err := c.raw.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &plainSink{tcpSink: tcpSink{ctx: v.ctx, conn: c}, over: &v.over, raw: raw}, nil
}

func (p *plainSink) hold(wait bool) (bool, error) {
	if wait {
		p.conn.mu.Lock()
	} else if !p.conn.mu.TryLock() {
		return false, nil
	}
	if p.over.Load() {
		p.conn.mu.Unlock()
		return false, context.Cause(p.ctx)
	}
	return true, nil
}

func (p *plainSink) release() { p.conn.mu.Unlock() }

func (p *plainSink) sendNow(w *writer, b []byte) (int, error) { return w.write(p.raw, b) }

// writer writes without waiting. It has what goes in and out of the callback that
// a system's connection wants, so that this is made once.
type writer struct {
	b        []byte
	n        int
	err      error
	callback func(fd uintptr)
}

func newWriter() *writer {
	w := &writer{}
	w.callback = w.onWrite
	return w
}

func (w *writer) write(c syscall.RawConn, b []byte) (int, error) {
	w.b = b
	err := c.Control(w.callback)
	w.b = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *writer) onWrite(fd uintptr) {
	for {
		w.n, w.err = unix.Write(int(fd), w.b)
		if w.err != unix.EINTR {
			break
		}
	}
	switch w.err {
	case nil:
	case unix.EAGAIN:
		w.n, w.err = 0, nil
	default:
		w.n, w.err = 0, os.NewSyscallError("write", w.err)
	}
}

func (p *plainSink) ready() error {
	c := p.conn
	c.deadline = time.Now().Add(c.srv.cfg.WriteTimeout)
	if err := c.raw.SetWriteDeadline(c.deadline); err != nil {
		return err
	}
	return p.raw.Write(writable)
}

// writable asks the kernel, which wants a third of its buffer free before it
// wakes who waits; so one write makes up for the wake-up.
func writable(fd uintptr) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(set, 0)
	return n > 0 || err != nil
}
