package rtsp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// sink sends whole packets in the form that gather makes.
type sink interface {
	send(b []byte) error
	// close ends a send that waits; it may be called from any goroutine.
	close()
}

// tcpSink sends on the viewer's RTSP connection (RFC 2326, 10.12).
type tcpSink struct {
	ctx  context.Context
	conn *conn
}

func (t *tcpSink) send(b []byte) error { return t.conn.writeMedia(t.ctx, b) }

func (t *tcpSink) close() { t.conn.Close() }

// udpSink sends each packet in a datagram, to the ports that the viewer named
// and to the address that its requests come from, or to a multicast group, never
// to another. A burst
// (a large key frame, a late viewer's first GOP) is spread, or it would overrun
// the viewer's receive buffer.
type udpSink struct {
	ctx  context.Context
	from []*net.UDPConn   // by channel
	to   []netip.AddrPort // by channel
	pace pacer
}

func newUDPSink(ctx context.Context, socks *udpPair, host net.Addr, ports [][2]int) (*udpSink, error) {
	peer, ok := host.(*net.TCPAddr)
	if !ok || socks == nil {
		return nil, errors.New("no address to send UDP to")
	}
	ip := peer.AddrPort().Addr().Unmap()
	u := &udpSink{ctx: ctx}
	for _, pair := range ports {
		u.from = append(u.from, socks.rtp, socks.rtcp)
		for _, p := range pair {
			u.to = append(u.to, netip.AddrPortFrom(ip, uint16(p)))
		}
	}
	return u, nil
}

func (u *udpSink) send(b []byte) error {
	for len(b) > frameHeader {
		channel, n := int(b[1]), int(b[2])<<8|int(b[3])
		if err := u.pace.wait(u.ctx, n); err != nil {
			return err
		}
		// Any other error is of this moment (no route, no buffer): UDP loses packets.
		if _, err := u.from[channel].WriteToUDPAddrPort(b[frameHeader:frameHeader+n], u.to[channel]); errors.Is(err, net.ErrClosed) {
			return err
		}
		b = b[frameHeader+n:]
	}
	return nil
}

func (u *udpSink) close() {}

// pacer lets udpBurst bytes pass at once and udpRate a second after that.
type pacer struct {
	free  time.Time // when what has passed is paid for
	timer *time.Timer
}

func (p *pacer) wait(ctx context.Context, n int) error {
	const credit = time.Duration(udpBurst) * time.Second / udpRate
	now := time.Now()
	if earliest := now.Add(-credit); p.free.Before(earliest) {
		p.free = earliest
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / udpRate)
	d := p.free.Sub(now)
	if d <= 0 {
		return ctx.Err()
	}
	if p.timer == nil {
		p.timer = time.NewTimer(d)
	} else {
		p.timer.Reset(d)
	}
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		p.timer.Stop()
		return ctx.Err()
	}
}
