package rtsp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// ears knows who speaks over UDP.
type ears struct {
	mu sync.Mutex
	of map[netip.AddrPort]*talkback
}

func (e *ears) add(t *talkback) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = map[netip.AddrPort]*talkback{}
	}
	e.of[t.from] = t
}

func (e *ears) remove(t *talkback) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of[t.from] == t {
		delete(e.of, t.from)
	}
}

func (e *ears) find(from netip.AddrPort) *talkback {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.of[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
}

// hearTalk reads what viewers say over UDP; end stops that.
func (s *Server) hearTalk(d *doors) (end func()) {
	if s.cfg.Talk == nil || d.udp == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.readTalk(d.udp.rtp)
	}()
	return func() {
		d.udp.rtp.Close()
		<-done
	}
}

// readTalk reads until the socket is closed. Packets from elsewhere than a viewer
// with a back channel said are passed over.
func (s *Server) readTalk(sock *net.UDPConn) {
	b := make([]byte, maxTalk+1)
	for {
		n, from, err := sock.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if t := s.ears.find(from); t != nil {
			t.hear(b[:n])
		}
	}
}

// listenPacket hands sockets to gortsplib: instead of the one for RTP, if viewers
// may speak, one that nothing comes to.
func (s *Server) listenPacket(p *udpPair) func(network, address string) (net.PacketConn, error) {
	if s.cfg.Talk == nil {
		return p.listenPacket
	}
	return func(network, address string) (net.PacketConn, error) {
		if address != p.rtp.LocalAddr().String() {
			return p.listenPacket(network, address)
		}
		var l net.ListenConfig
		return l.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	}
}
