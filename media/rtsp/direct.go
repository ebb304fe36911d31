package rtsp

import (
	"context"
	"os"
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
	// sendNow sends what the connection takes at once, and returns how much that
	// was; less than all is no error. The caller holds it.
	sendNow(b []byte) (int, error)
	// ready waits until the connection takes more, os.ErrDeadlineExceeded if it
	// did not for WriteTimeout. The caller holds it.
	ready() error
	release()
}

// plainSink sends on a connection that is nothing but TCP.
type plainSink struct {
	tcpSink
	raw syscall.RawConn

	// Arguments and results of the callbacks, which are made once.
	b        []byte
	n        int
	errno    error
	write    func(fd uintptr)
	writable func(fd uintptr) bool
}

func newPlainSink(ctx context.Context, c *conn) (*plainSink, error) {
	raw, err := c.raw.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &plainSink{tcpSink: tcpSink{ctx: ctx, conn: c}, raw: raw}
	p.write, p.writable = p.onWrite, p.onWritable
	return p, nil
}

func (p *plainSink) hold(wait bool) (bool, error) {
	if wait {
		p.conn.mu.Lock()
	} else if !p.conn.mu.TryLock() {
		return false, nil
	}
	if p.ctx.Err() != nil {
		p.conn.mu.Unlock()
		return false, context.Cause(p.ctx)
	}
	return true, nil
}

func (p *plainSink) release() { p.conn.mu.Unlock() }

func (p *plainSink) sendNow(b []byte) (int, error) {
	p.b = b
	err := p.raw.Control(p.write)
	p.b = nil
	if err != nil {
		return 0, err
	}
	return p.n, p.errno
}

func (p *plainSink) onWrite(fd uintptr) {
	for {
		p.n, p.errno = unix.Write(int(fd), p.b)
		if p.errno != unix.EINTR {
			break
		}
	}
	switch p.errno {
	case nil:
	case unix.EAGAIN:
		p.n, p.errno = 0, nil
	default:
		p.n, p.errno = 0, os.NewSyscallError("write", p.errno)
	}
}

func (p *plainSink) ready() error {
	c := p.conn
	c.deadline = time.Now().Add(c.srv.cfg.WriteTimeout)
	if err := c.raw.SetWriteDeadline(c.deadline); err != nil {
		return err
	}
	return p.raw.Write(p.writable)
}

// onWritable asks the kernel, which wants a third of its buffer free before it
// wakes who waits; so one write makes up for the wake-up.
func (p *plainSink) onWritable(fd uintptr) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(set, 0)
	return n > 0 || err != nil
}
