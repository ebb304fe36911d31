package peripheral

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// waker ends a poll(2) from another goroutine.
type waker struct {
	fd int

	mu     sync.Mutex
	closed bool
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &waker{fd: fd}, nil
}

// up may come late, when the descriptor is another file's already.
func (w *waker) up() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		one := [8]byte{1, 1, 1, 1, 1, 1, 1, 0} // not zero in either byte order
		_, _ = unix.Write(w.fd, one[:])        // full is awake as well
	}
}

func (w *waker) drain() {
	var b [8]byte
	_, _ = unix.Read(w.fd, b[:])
}

func (w *waker) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return unix.Close(w.fd)
}
