package kernel

import (
	"errors"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Waiter waits for devices. Wait and Poll are called by one goroutine; Wake and
// Close by any.
type Waiter struct {
	mu sync.Mutex
	fd int // an eventfd; -1 when closed
}

// NewWaiter takes one file descriptor, until Close.
func NewWaiter() (*Waiter, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Waiter{fd: fd}, nil
}

// Wake ends a Wait: the present one, or else the next.
func (w *Waiter) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		one := uint64(1)
		_, _ = unix.Write(w.fd, bytesOf(&one))
	}
}

// Wait blocks until fd has one of the poll events, Wake was called, or timeout
// is over (negative: never). It returns what poll tells of fd: 0 if the wait
// ended otherwise. A negative fd waits for the others alone. Close must not
// come before Wait has returned.
func (w *Waiter) Wait(fd int, events int16, timeout time.Duration) (int16, error) {
	set := [2]unix.PollFd{1: {Fd: int32(fd), Events: events}}
	err := w.poll(set[:], timeout)
	return set[1].Revents, err
}

// Poll is Wait for several at a time; it fills in their Revents.
func (w *Waiter) Poll(set []unix.PollFd, timeout time.Duration) error {
	all := append(make([]unix.PollFd, 1, len(set)+1), set...)
	err := w.poll(all, timeout)
	copy(set, all[1:])
	return err
}

// poll waits; the first place of set is the Waiter's own.
func (w *Waiter) poll(set []unix.PollFd, timeout time.Duration) error {
	set[0] = unix.PollFd{Fd: int32(w.fd), Events: unix.POLLIN}
	if _, err := unix.Poll(set, milliseconds(timeout)); err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("poll", err)
	}
	if set[0].Revents != 0 {
		var count uint64
		_, _ = unix.Read(w.fd, bytesOf(&count))
	}
	return nil
}

// milliseconds rounds up, so that no wait ends before its time.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int(min((d+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
}

// Close gives the file descriptor back. A second call does nothing.
func (w *Waiter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	fd := w.fd
	w.fd = -1
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}
