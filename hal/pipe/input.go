package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// writerWithin is how long a FIFO may have no writer: less than the time that
// Camera gives a stream for its first frame, so that the reason can be told.
const writerWithin = 8 * time.Second

// input is an open source of bytes: a program's output, a FIFO, or a file.
type input struct {
	name   string // for errors
	file   *os.File
	hold   atomic.Pointer[os.File] // the FIFO's other end, held until a writer has come
	child  *child
	replay bool // a regular file
	wrote  bool // bytes came
}

func openInput(src *Source, c hal.VideoConfig, log *zap.Logger) (*input, error) {
	if len(src.Command) > 0 {
		return openCommand(src.argv(c), log)
	}
	mode, err := src.stat()
	switch {
	case err != nil:
		return nil, err
	case mode.IsRegular():
		f, err := os.Open(src.Path)
		return &input{name: fmt.Sprintf("file %q", src.Path), file: f, replay: true}, err
	}
	return openFIFO(src.Path)
}

func openCommand(argv []string, log *zap.Logger) (*input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c, err := startChild(argv, nil, w, log)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &input{name: fmt.Sprintf("program %q", argv[0]), file: r, child: c}, nil
}

// openFIFO opens the reading end without waiting for a writer, and without
// blocking a thread in a read. While nobody writes we hold the writing end too,
// so that a read waits instead of reporting the end of the file.
func openFIFO(path string) (*input, error) {
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	w, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		r.Close()
		return nil, err
	}
	in := &input{name: fmt.Sprintf("FIFO %q", path), file: r}
	in.hold.Store(w)
	return in, nil
}

// read reads as [os.File] does, but gives up with [os.ErrDeadlineExceeded] at
// the deadline (zero: never), and when it is interrupted, and then only once in
// a while without a reason. A regular file never waits, and knows no deadline.
func (in *input) read(ctx context.Context, p []byte, deadline time.Time) (int, error) {
	if !in.replay {
		if err := in.file.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
	}
	if err := ctx.Err(); err != nil { // an interrupt from before the deadline was set
		return 0, err
	}
	n, err := in.file.Read(p)
	if n > 0 {
		in.wrote = true
		in.release()
	}
	return n, err
}

// lonely tells whether a FIFO is held open only by us, as far as we know.
func (in *input) lonely() bool { return in.hold.Load() != nil }

func (in *input) release() {
	if w := in.hold.Swap(nil); w != nil {
		w.Close()
	}
}

// interrupt lets a read in flight end.
func (in *input) interrupt() { _ = in.file.SetReadDeadline(time.Unix(1, 0)) }

// ended waits until the source has truly ended and tells how; clean is true if
// what it wrote last can be trusted to be whole.
func (in *input) ended() (clean bool, err error) {
	if !in.wrote && in.child == nil {
		return false, fmt.Errorf("%w: no program has opened %s for writing", hal.ErrGone, in.name)
	}
	if in.child == nil {
		return true, fmt.Errorf("%w: the writer of %s closed it", hal.ErrGone, in.name)
	}
	how := in.child.end(stopWait)
	return how == nil, in.child.gone(in.name, how)
}

func (in *input) rewind() error {
	_, err := in.file.Seek(0, io.SeekStart)
	return err
}

// close ends everything; a read in flight returns [os.ErrClosed].
func (in *input) close() error {
	err := in.file.Close()
	in.release()
	if in.child != nil {
		if how := in.child.end(0); !isExit(how) {
			err = errors.Join(err, fmt.Errorf("%s: %w", in.name, how))
		}
	}
	return err
}

// isExit tells whether how is the way in which a program ended, as opposed to
// a failure to end it.
func isExit(how error) bool {
	var exit interface{ ExitCode() int }
	return how == nil || errors.As(how, &exit)
}
