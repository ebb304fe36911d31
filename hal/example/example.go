// Package example is a complete small board, for those who write one: of an
// imaginary camera whose vendor's daemon gives H.264 on a unix socket. What it
// sends is one header, then frames, all numbers little-endian:
//
//	header  width, height, fps, gop, bitrate   uint32 each
//	frame   number, length                     uint32 each
//	        time of capture                    uint64, microseconds of its own clock
//	        Annex B                            length bytes
//
// and it begins a new GOP when the letter K is written to it.
package example

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Board is the camera behind one socket.
type Board struct {
	socket string
	mu     sync.Mutex
	open   *video    // nil while the stream is closed
	zero   time.Time // of the daemon's clock, by ours
}

// New makes a board of the daemon behind socket; it starts nothing.
func New(socket string) *Board { return &Board{socket: socket} }

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{Board: "example", Model: "imaginary camera"} }

// Streams implements [hal.Board]. Nothing can be chosen, so there are no ranges.
func (b *Board) Streams() []hal.StreamInfo { return []hal.StreamInfo{{Name: "main", Reopens: true}} }

// OpenVideo implements [hal.Board].
func (b *Board) OpenVideo(ctx context.Context, stream string, _ hal.VideoConfig) (hal.VideoStream, error) {
	if _, err := hal.FindStream(b, stream); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", b.socket)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s: is the encoder's daemon running?", hal.ErrNotFound, b.socket)
	} else if err != nil {
		return nil, err
	}
	v := &video{board: b, conn: conn, in: bufio.NewReaderSize(conn, maxFrame)}
	h, err := v.peek(ctx, 20)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	number := func(i int) int { return int(binary.LittleEndian.Uint32(h[4*i:])) }
	v.cfg = hal.VideoConfig{Width: number(0), Height: number(1), FPS: number(2), GOP: number(3), Bitrate: number(4)}
	v.in.Discard(20)
	b.mu.Lock()
	b.open = v
	b.mu.Unlock()
	return v, nil
}

// RequestKeyframe implements [hal.KeyframeRequester].
func (b *Board) RequestKeyframe(string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		return hal.ErrClosed
	}
	_, err := b.open.conn.Write([]byte("K"))
	return err
}

// Close implements [hal.Board].
func (b *Board) Close() error {
	b.mu.Lock()
	v := b.open
	b.mu.Unlock()
	if v == nil {
		return nil
	}
	return v.Close()
}

// clock tells when the daemon's clock was zero, from the first frame of a stream:
// the two clocks meet once, so that times go on from stream to stream, and again
// when the daemon has been started anew.
func (b *Board) clock(at time.Duration) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.zero.Add(at)).Abs() > time.Second {
		b.zero = time.Now().Add(-at)
	}
	return b.zero
}

// maxFrame bounds one frame: more is not H.264 but nonsense.
const maxFrame = 1 << 20

// video is the open stream.
type video struct {
	board  *Board
	conn   net.Conn
	in     *bufio.Reader
	cfg    hal.VideoConfig
	zero   time.Time // as the board's
	next   uint32    // number of the frame to come
	lost   uint64    // frames lost since the last one handed over
	synced bool      // a key frame was seen since the last loss
}

// Config implements [hal.VideoStream].
func (v *video) Config() hal.VideoConfig { return v.cfg }

// Next implements [hal.VideoStream].
func (v *video) Next(ctx context.Context) (hal.AccessUnit, error) {
	for {
		h, err := v.peek(ctx, 16)
		if err != nil {
			return hal.AccessUnit{}, err
		}
		number, size := binary.LittleEndian.Uint32(h), int(binary.LittleEndian.Uint32(h[4:]))
		at := time.Duration(binary.LittleEndian.Uint64(h[8:])) * time.Microsecond
		if size > maxFrame-16 {
			return hal.AccessUnit{}, fmt.Errorf("%w: a frame of %d bytes", hal.ErrGarbage, size)
		}
		frame, err := v.peek(ctx, 16+size)
		if err != nil {
			return hal.AccessUnit{}, err // of ctx: the frame stays, for the next call
		}
		au, err := hal.ParseAnnexB(frame[16:], nil) // it copies, once
		v.in.Discard(16 + size)
		if err != nil {
			return hal.AccessUnit{}, err
		}
		if v.zero.IsZero() { // the first frame
			v.zero, v.next = v.board.clock(at), number
		}
		if skipped := number - v.next; skipped > 0 { // what follows a loss can't be shown before a key frame
			v.lost, v.synced = v.lost+uint64(skipped), false
		}
		v.next = number + 1
		if v.synced = v.synced || au.Key; !v.synced {
			v.lost++
			continue
		}
		au.Seq, au.Time, au.Lost = uint64(number), v.zero.Add(at), v.lost
		v.lost = 0
		return au, nil
	}
}

// peek waits until n bytes are there and takes none of them, so that nothing is
// lost when ctx ends meanwhile.
func (v *video) peek(ctx context.Context, n int) ([]byte, error) {
	v.conn.SetReadDeadline(time.Time{})
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { v.conn.SetReadDeadline(time.Now()); close(done) })
	defer func() {
		if !stop() {
			<-done // so that it can't meet the next call
		}
	}()
	b, err := v.in.Peek(n)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, net.ErrClosed):
		return nil, hal.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: the encoder's daemon: %w", hal.ErrGone, err)
}

// Close implements [hal.VideoStream].
func (v *video) Close() error {
	v.board.mu.Lock()
	if v.board.open == v {
		v.board.open = nil
	}
	v.board.mu.Unlock()
	return v.conn.Close()
}
