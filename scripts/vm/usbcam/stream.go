package usbcam

import (
	"context"
	"time"
)

// stream sends the frames of one start.
type stream struct {
	session *session
	format  Format
	cancel  context.CancelFunc
	done    chan struct{}
	began   time.Time
	toggle  byte // changes from frame to frame
}

// run sends frames until the stream is stopped or the source ends; then the
// host hears nothing more, as of a camera that hangs.
func (st *stream) run(ctx context.Context) {
	defer close(st.done)
	defer st.cancel()
	source := st.session.config.Source
	if source.Start(ctx, st.format) != nil {
		return
	}
	defer source.Stop()
	st.began = time.Now()
	for {
		frame, err := source.Next(ctx)
		if err != nil {
			return
		}
		if sent := st.session.config.Sent; sent != nil {
			sent(frame)
		}
		if !st.send(ctx, frame) {
			return
		}
		st.session.count(func(k *Stats) { k.Frames++ })
	}
}

// Bits of a payload's header (UVC 1.1, 2.4.3.3).
const (
	headerSize  = 6
	hasTime     = 0x04
	endOfFrame  = 0x02
	endOfHeader = 0x80
)

// send cuts a frame into payloads, one a transfer.
func (st *stream) send(ctx context.Context, frame []byte) bool {
	ticks := uint32(time.Since(st.began).Microseconds() * (clock / 1_000_000))
	for {
		sent, ok := st.sendPart(ctx, frame, ticks)
		if !ok {
			return false
		}
		frame = frame[sent:]
		if len(frame) == 0 {
			st.toggle ^= 1
			return true
		}
	}
}

// sendPart fills the next transfer; it waits for one.
func (st *stream) sendPart(ctx context.Context, frame []byte, ticks uint32) (int, bool) {
	s := st.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) == 0 && ctx.Err() == nil {
		s.changed.Wait()
	}
	if ctx.Err() != nil {
		return 0, false
	}
	t := s.waiting[0]
	s.waiting = s.waiting[1:]
	n := min(len(frame), t.length-headerSize)
	if n < 0 {
		return 0, false
	}
	flags := endOfHeader | hasTime | st.toggle
	if n == len(frame) {
		flags |= endOfFrame
	}
	b := append(append([]byte{headerSize, flags}, u32(int(ticks))...), frame[:n]...)
	return n, s.reply(retSubmit, t.seq, 0, b, len(b)) == nil
}
