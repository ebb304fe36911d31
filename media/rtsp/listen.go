package rtsp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// doors are the sockets of one Run. What is not configured is nil.
type doors struct {
	plain, secure *net.TCPListener
	udp           *udpPair // gortsplib reads it
	sealed        *udpPair // SRTP
}

func (d *doors) close() {
	for _, l := range []*net.TCPListener{d.plain, d.secure} {
		if l != nil {
			l.Close()
		}
	}
	d.udp.close()
	d.sealed.close()
}

// String is the first address that is listened on.
func (d *doors) String() string {
	if d.plain != nil {
		return d.plain.Addr().String()
	}
	return d.secure.Addr().String()
}

// listener gives gortsplib connections of type *conn, from both addresses.
type listener struct {
	ctx      context.Context
	srv      *Server
	doors    *doors
	accepted chan net.Conn
	work     sync.WaitGroup
	once     sync.Once
	closed   chan struct{}
}

// newListener begins to accept.
func newListener(ctx context.Context, s *Server, d *doors) *listener {
	l := &listener{ctx: ctx, srv: s, doors: d, accepted: make(chan net.Conn), closed: make(chan struct{})}
	if d.plain != nil {
		l.work.Go(func() { l.serve(d.plain, nil) })
	}
	if d.secure != nil {
		l.work.Go(func() { l.serve(d.secure, s.tlsConfig()) })
	}
	return l
}

// Accept waits for a connection within the limits. Only the end of the listener
// is an error: gortsplib would end the whole server for any other.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr is asked for by nobody; it makes a net.Listener.
func (l *listener) Addr() net.Addr { return l.srv.Addr() }

func (l *listener) Close() error {
	l.end()
	l.work.Wait()
	return nil
}

func (l *listener) end() {
	l.once.Do(func() {
		close(l.closed)
		for _, t := range []*net.TCPListener{l.doors.plain, l.doors.secure} {
			if t != nil {
				t.Close()
			}
		}
	})
}

func (l *listener) serve(t *net.TCPListener, secure *tls.Config) {
	defer l.end() // without one of its addresses it is no server any more
	for {
		c, err := t.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.pause(err)
		case l.srv.guard.refuses(c.RemoteAddr()) || !l.srv.admit():
			c.Close()
		default:
			l.hand(newConn(c, l.srv, secure))
		}
	}
}

func (l *listener) hand(c *conn) {
	select {
	case l.accepted <- c:
	case <-l.closed:
		c.Close()
	}
}

// pause lets descriptors become free again after ENFILE or EMFILE.
func (l *listener) pause(err error) {
	if errors.Is(err, syscall.ECONNABORTED) {
		return
	}
	l.srv.complain("cannot accept RTSP connections", err)
	select {
	case <-l.closed:
	case <-l.ctx.Done():
	case <-time.After(acceptRetryWait):
	}
}

// udpPair is a pair of neighbouring ports, RTP on the even one (RFC 3550, 11).
// gortsplib reads from them, viewers write to them.
type udpPair struct{ rtp, rtcp *net.UDPConn }

func (p *udpPair) ports() [2]int {
	port := p.rtp.LocalAddr().(*net.UDPAddr).Port
	return [2]int{port, port + 1}
}

func (p *udpPair) close() {
	if p != nil {
		p.rtp.Close()
		p.rtcp.Close()
	}
}

// listenPacket hands the sockets to gortsplib, which asks for RTP first and owns
// them from then on.
func (p *udpPair) listenPacket(_, address string) (net.PacketConn, error) {
	if address == p.rtp.LocalAddr().String() {
		return p.rtp, nil
	}
	return p.rtcp, nil
}

// listen opens the sockets of one Run.
func (s *Server) listen() (d *doors, err error) {
	d = &doors{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if s.cfg.Address == "" && s.cfg.TLSAddress == "" {
		return d, errors.New("the RTSP server has no address, host:port, to listen on")
	}
	if err := s.checkMulticast(); err != nil {
		return d, err
	}
	if d.plain, err = listenTCP("RTSP", s.cfg.Address); err != nil {
		return d, err
	}
	if d.secure, err = listenTCP("RTSPS", s.cfg.TLSAddress); err != nil {
		return d, err
	}
	if d.secure != nil && s.cfg.Certificate == nil {
		return d, fmt.Errorf("RTSPS address %s: %w", s.cfg.TLSAddress, errNoCertificate)
	}
	return d, s.listenUDP(d)
}

// checkMulticast tells what can't be right. Whether there is a way out is seen
// each time that somebody asks for multicast; the log has it from the start.
func (s *Server) checkMulticast() error {
	if !s.cfg.Multicast {
		return nil
	}
	for name := range s.streams {
		if addr, _, ok := s.placeOf(groupKey{stream: name}, groupTracks); !ok {
			return fmt.Errorf("multicast group %s of stream %s is none of IPv4", addr, name)
		}
	}
	if p := s.cfg.MulticastPort; p%2 != 0 || p > 65535-4*groupTracks {
		return fmt.Errorf("multicast port %d is not an even port with room behind it", p)
	}
	if _, err := exitBy(s.cfg.MulticastInterface); err != nil { // it may come yet
		s.cfg.Log.Warn("multicast is configured and cannot leave", zap.Error(err))
	}
	return nil
}

func (s *Server) listenUDP(d *doors) (err error) {
	switch {
	case s.cfg.UDP && d.plain != nil:
		d.udp, err = listenPair(addressOf(d.plain), s.cfg.UDPPort)
	case s.cfg.Multicast && d.plain != nil: // or gortsplib would not know of UDP at all
		d.udp, err = listenPair(net.IPv4(127, 0, 0, 1), 0)
	}
	if err != nil || !s.cfg.UDP || d.secure == nil {
		return err
	}
	port := s.cfg.UDPPort
	if port > 0 {
		port += 2
	}
	d.sealed, err = listenPair(addressOf(d.secure), port)
	return err
}

// hear reads reports over SRTP; end stops that.
func (s *Server) hear(d *doors) (end func()) {
	if d.sealed == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.hearReports(d.sealed.rtcp)
	}()
	return func() {
		d.sealed.close()
		<-done
	}
}

// listenTCP listens on an address, if there is one.
func listenTCP(what, address string) (*net.TCPListener, error) {
	if address == "" {
		return nil, nil
	}
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s address %q is not host:port: %w", what, address, err)
	}
	l, err := net.ListenTCP(network("tcp", addr.IP), addr)
	if err != nil {
		return nil, fmt.Errorf("%s address %s: %w", what, address, err)
	}
	return l, nil
}

func addressOf(l *net.TCPListener) net.IP { return l.Addr().(*net.TCPAddr).IP }

// network keeps 0.0.0.0 from meaning IPv6 as well.
func network(kind string, ip net.IP) string {
	if ip.To4() != nil {
		return kind + "4"
	}
	return kind
}

func listenPair(ip net.IP, port int) (*udpPair, error) {
	if port%2 != 0 || port < 0 || port > 65534 {
		return nil, fmt.Errorf("RTP port %d is not an even port", port)
	}
	if port > 0 {
		return bindPair(ip, port)
	}
	var err error
	for range 64 {
		var p *udpPair
		if p, err = freePair(ip); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no free pair of UDP ports: %w", err)
}

// freePair takes a free port and tries to get its neighbour.
func freePair(ip net.IP) (*udpPair, error) {
	first, err := net.ListenUDP(network("udp", ip), &net.UDPAddr{IP: ip})
	if err != nil {
		return nil, err
	}
	port := first.LocalAddr().(*net.UDPAddr).Port
	if port%2 == 0 {
		second, err := net.ListenUDP(network("udp", ip), &net.UDPAddr{IP: ip, Port: port + 1})
		if err != nil {
			first.Close()
			return nil, err
		}
		return newPair(first, second), nil
	}
	first.Close()
	return bindPair(ip, port-1)
}

func bindPair(ip net.IP, port int) (*udpPair, error) {
	first, err := net.ListenUDP(network("udp", ip), &net.UDPAddr{IP: ip, Port: port})
	if err != nil {
		return nil, fmt.Errorf("RTP port %s: %w", strconv.Itoa(port), err)
	}
	second, err := net.ListenUDP(network("udp", ip), &net.UDPAddr{IP: ip, Port: port + 1})
	if err != nil {
		first.Close()
		return nil, fmt.Errorf("RTCP port %d: %w", port+1, err)
	}
	return newPair(first, second), nil
}

func newPair(rtp, rtcp *net.UDPConn) *udpPair {
	_ = rtp.SetWriteBuffer(udpSendBuffer) // an advice: a burst then waits rather than being lost
	return &udpPair{rtp: rtp, rtcp: rtcp}
}
