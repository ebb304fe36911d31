package rtsp

import (
	"fmt"
	"net"
	"strconv"
)

// udpPair is a pair of neighbouring ports, RTP on the even one (RFC 3550, 11).
// gortsplib reads from them, viewers write to them.
type udpPair struct{ rtp, rtcp *net.UDPConn }

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
func (s *Server) listen() (*net.TCPListener, *udpPair, error) {
	addr, err := net.ResolveTCPAddr("tcp", s.cfg.Address)
	if err != nil || s.cfg.Address == "" {
		return nil, nil, fmt.Errorf("RTSP address %q is not host:port: %w", s.cfg.Address, err)
	}
	ln, err := net.ListenTCP(network("tcp", addr.IP), addr)
	if err != nil {
		return nil, nil, fmt.Errorf("RTSP address %s: %w", s.cfg.Address, err)
	}
	if !s.cfg.UDP {
		return ln, nil, nil
	}
	pair, err := listenPair(addr.IP, s.cfg.UDPPort)
	if err != nil {
		ln.Close()
		return nil, nil, err
	}
	return ln, pair, nil
}

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
