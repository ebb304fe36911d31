package onboard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
)

// writeWithin bounds a request that the streamer doesn't read, so Close too.
const writeWithin = time.Second

// session is one RTSP session for one track, behind guards against what
// gortsplib v4.16.2 does:
//
//   - It measures silence by the wall clock, and a camera's clock steps: its own
//     time-outs are off, contexts and the queue see to them.
//   - It follows redirects anywhere, with the password: it gets one connection.
//   - It panics if a streamer without OPTIONS closes the connection between
//     SETUP and PLAY: such an answer becomes a good one.
//   - It refuses a whole description for one track that it can't read: it gets
//     the tracks of one kind alone.
//   - It logs by package log: its reports are taken from it.
type session struct {
	client *gortsplib.Client
	ctx    context.Context // of the opening
	src    source
	kind   description.MediaType
	ended  chan struct{}

	mu     sync.Mutex
	conn   net.Conn
	cut    bool
	method base.Method // of the last request
}

// track is what of a description is wanted.
type track struct {
	media  *description.Media
	format format.Format
}

// begin connects, sets up the track that choose takes, and plays: by TCP, or by
// UDP if the streamer can't do that. What choose returns gets the packets, in
// gortsplib's goroutine: it must not wait. ended is called once when the
// streamer ends the session, not by close.
func begin(ctx context.Context, src source, kind description.MediaType, choose choice, ended func(error)) (*session, error) {
	s, err := attempt(ctx, src, kind, gortsplib.TransportTCP, choose, ended)
	if errors.Is(err, errUDP) {
		s, err = attempt(ctx, src, kind, gortsplib.TransportUDP, choose, ended)
	}
	return s, err
}

// choice picks a track of a description, and says what takes its packets.
type choice func([]*description.Media) (track, func(*rtp.Packet), error)

func attempt(ctx context.Context, src source, kind description.MediaType, by gortsplib.Transport, choose choice, ended func(error)) (*session, error) {
	s := &session{ctx: ctx, src: src, kind: kind, ended: make(chan struct{})}
	s.client = &gortsplib.Client{
		Scheme: src.url.Scheme, Host: src.url.Host,
		Transport: &by, ReadTimeout: math.MaxInt64, WriteTimeout: writeWithin,
		DialContext: s.dial, ListenPacket: s.listen, OnRequest: s.asked, OnResponse: s.answered,
		OnPacketsLost: func(uint64) {}, OnDecodeError: func(error) {}, OnTransportSwitch: func(error) {},
	}
	if err := s.client.Start2(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.disconnect)
	err := s.play(choose, ended)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.client.Close()
		return nil, s.explain(err)
	}
	go s.watch(ended)
	return s, nil
}

func (s *session) play(choose choice, ended func(error)) error {
	d, _, err := s.client.Describe(s.src.url)
	if err != nil {
		return err
	}
	t, heard, err := choose(d.Medias)
	if err != nil {
		return err
	}
	t.media.Formats = []format.Format{t.format}
	if _, err := s.client.Setup(d.BaseURL, t.media, 0, 0); err != nil {
		return err
	}
	s.client.OnPacketRTP(t.media, t.format, guarded(heard, ended))
	_, err = s.client.Play(nil)
	return err
}

// guarded keeps a panic over a packet from ending the process.
func guarded(heard func(*rtp.Packet), ended func(error)) func(*rtp.Packet) {
	broken := false
	return func(p *rtp.Packet) {
		defer func() {
			if r := recover(); r != nil {
				broken = true
				ended(fmt.Errorf("%w: a packet of %d bytes could not be read: %v", hal.ErrGarbage, len(p.Payload), r))
			}
		}()
		if !broken {
			heard(p)
		}
	}
}

var errRedirect = errors.New("the streamer redirects to another address, want the URL of the stream itself")

// dial makes the session's one connection. It ends with the opening's context,
// not with gortsplib's.
func (s *session) dial(_ context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	again := s.conn != nil
	s.mu.Unlock()
	if again {
		return nil, errRedirect
	}
	var d net.Dialer
	conn, err := d.DialContext(s.ctx, network, s.src.addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		conn.Close()
		return nil, s.ctx.Err()
	}
	s.conn = conn
	return conn, nil
}

// udpBuffer holds a large key frame, which comes at once.
const udpBuffer = 1 << 20

// listen opens a port for RTP by UDP: on the address by which the streamer is
// reached, so that none is open to the network for a streamer on the camera.
func (s *session) listen(network, address string) (net.PacketConn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	ours, _, _ := net.SplitHostPort(s.conn.LocalAddr().String())
	s.mu.Unlock()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(ours, port))
	if err == nil {
		_ = conn.(*net.UDPConn).SetReadBuffer(udpBuffer) // as much of it as the system allows
	}
	return conn, err
}

// disconnect makes everything that waits for the streamer return.
func (s *session) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	if s.conn != nil {
		s.conn.Close()
	}
}

func (s *session) asked(r *base.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method != base.Teardown { // which comes after what went wrong
		s.method = r.Method
	}
}

func (s *session) asks() base.Method {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.method
}

func (s *session) answered(r *base.Response) {
	switch m := s.asks(); {
	case m == base.Options && (r.StatusCode == base.StatusNotFound || r.StatusCode == base.StatusMethodNotAllowed || r.StatusCode == base.StatusNotImplemented):
		r.StatusCode = base.StatusOK
	case m == base.Describe && r.StatusCode == base.StatusOK:
		r.Body = only(string(s.kind), r.Body)
	}
}

// watch waits for the session's end.
func (s *session) watch(ended func(error)) {
	defer close(s.ended)
	err := s.client.Wait()
	ended(fmt.Errorf("%w: the streamer ended the connection: %s", hal.ErrGone, printable(err)))
}

// close ends the session, politely; it waits until nothing of it runs.
func (s *session) close() {
	s.client.Close()
	<-s.ended
}
