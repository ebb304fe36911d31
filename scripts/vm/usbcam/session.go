package usbcam

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
)

// session is the camera from one plugging in to the unplugging.
type session struct {
	config Config
	sizes  []Size
	conn   io.ReadWriteCloser
	served chan struct{}

	// mu is also held while an answer is written: the answer to an unlink must
	// not overtake the answer to its transfer, or the kernel drops the device.
	mu            sync.Mutex
	changed       sync.Cond
	waiting       []transfer // bulk transfers to be filled with frames
	probe, commit choice
	values        []int // of pictureControls
	stats         Stats
	stream        *stream
}

// transfer is one that the kernel has handed over and we have not answered.
type transfer struct {
	seq    uint32
	length int
}

func newSession(config Config, conn io.ReadWriteCloser) *session {
	s := &session{config: config, sizes: config.Source.Sizes(), conn: conn, served: make(chan struct{})}
	s.changed.L = &s.mu
	s.probe = s.adjust(nil)
	s.commit = s.probe
	for _, c := range pictureControls {
		s.values = append(s.values, c.initial)
	}
	go s.serve()
	return s
}

// close ends the session; nothing of it is left.
func (s *session) close() error {
	err := s.conn.Close()
	<-s.served
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

func (s *session) count(change func(*Stats)) { s.mu.Lock(); change(&s.stats); s.mu.Unlock() }

func (s *session) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// USB/IP's commands and answers, and where in their 48 bytes the numbers are.
const (
	headSize  = 48
	cmdSubmit = 1
	cmdUnlink = 2
	retSubmit = 3
	retUnlink = 4

	atSeq, atDirection, atEndpoint = 4, 12, 16
	atLength, atSetup              = 24, 40
	atVictim                       = 20
	atStatus, atActual             = 20, 24

	stalled   = -int32(32)  // -EPIPE
	cancelled = -int32(104) // -ECONNRESET
)

var be = binary.BigEndian

func (s *session) serve() {
	defer close(s.served)
	defer s.stop()
	defer s.conn.Close()
	head := make([]byte, headSize)
	for {
		if _, err := io.ReadFull(s.conn, head); err != nil {
			return
		}
		var err error
		switch be.Uint32(head) {
		case cmdSubmit:
			err = s.submit(head)
		case cmdUnlink:
			err = s.unlink(be.Uint32(head[atSeq:]), be.Uint32(head[atVictim:]))
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *session) submit(head []byte) error {
	t := transfer{be.Uint32(head[atSeq:]), int(be.Uint32(head[atLength:]))}
	in := be.Uint32(head[atDirection:]) == 1
	var out []byte
	if !in {
		out = make([]byte, t.length)
		if _, err := io.ReadFull(s.conn, out); err != nil {
			return err
		}
	}
	if be.Uint32(head[atEndpoint:]) != 0 {
		s.queue(t)
		return nil
	}
	data, ok := s.answer(parseRequest(head[atSetup:]), out)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !ok:
		return s.reply(retSubmit, t.seq, stalled, nil, 0)
	case in:
		data = data[:min(len(data), t.length)]
		return s.reply(retSubmit, t.seq, 0, data, len(data))
	}
	return s.reply(retSubmit, t.seq, 0, nil, t.length)
}

// queue keeps a transfer for the next frame; the first one starts the stream.
func (s *session) queue(t transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, t)
	s.changed.Broadcast()
	if s.stream == nil {
		s.start()
	}
}

func (s *session) unlink(seq, victim uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.waiting {
		if t.seq == victim {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return s.reply(retUnlink, seq, cancelled, nil, 0)
		}
	}
	return s.reply(retUnlink, seq, 0, nil, 0) // it has been answered
}

// reply writes one answer. With mu held.
func (s *session) reply(kind, seq uint32, status int32, data []byte, actual int) error {
	b := make([]byte, headSize, headSize+len(data))
	be.PutUint32(b, kind)
	be.PutUint32(b[atSeq:], seq)
	be.PutUint32(b[atStatus:], uint32(status))
	be.PutUint32(b[atActual:], uint32(actual))
	_, err := s.conn.Write(append(b, data...))
	return err
}

// start begins to send frames. With mu held.
func (s *session) start() {
	ctx, cancel := context.WithCancel(context.Background())
	size := s.sizes[s.commit.frame-1]
	st := &stream{session: s, cancel: cancel, done: make(chan struct{}), format: Format{size, (10_000_000 + s.commit.interval/2) / s.commit.interval}}
	s.stream = st
	s.stats.Starts++
	go st.run(ctx)
}

// stop ends the stream, if one runs, and waits for it.
func (s *session) stop() {
	s.mu.Lock()
	st := s.stream
	s.stream = nil
	if st != nil {
		st.cancel()
		s.changed.Broadcast()
	}
	s.mu.Unlock()
	if st != nil {
		<-st.done
	}
}
