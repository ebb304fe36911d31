package local

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud/retry"
)

// ErrNotFound is a camera that nobody on the local network answers for.
var ErrNotFound = errors.New("not found on the local network")

const (
	gatherFor = 300 * time.Millisecond // after the first answer: it may be a wrong one
	firstWait = time.Second            // between questions, doubled each time (RFC 6762, 5.2)
)

// Find asks the local network for the camera with this binding, until it is
// found or ctx ends, and returns the addresses (host:port) that were given for
// it, 8 at most, all of them on this machine's own links. Anybody may answer: the
// session tells who it is.
func Find(ctx context.Context, bindID string) ([]string, error) {
	name := Name(bindID)
	ask, err := question(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan netip.AddrPort)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for _, s := range sockets(links()) {
		work.Go(func() { s.ask(ctx, ask) })
		work.Go(func() { s.listen(ctx, name, answers) })
	}
	return gather(ctx, answers)
}

func gather(ctx context.Context, answers <-chan netip.AddrPort) (out []string, err error) {
	var enough <-chan time.Time
	for len(out) < maxFound {
		select {
		case a := <-answers:
			if !slices.Contains(out, a.String()) {
				out = append(out, a.String())
			}
			if enough == nil {
				enough = time.After(gatherFor)
			}
		case <-enough:
			return out, nil
		case <-ctx.Done():
			if len(out) == 0 {
				return nil, ErrNotFound
			}
			return out, nil
		}
	}
	return out, nil
}

// socket asks on one link. The system sends what goes to a group by the link of
// the address that the socket is bound to.
type socket struct {
	link  link
	conn  *net.UDPConn
	group net.UDPAddr
}

func sockets(all []link) (out []socket) {
	for _, l := range all {
		v4, v6 := false, false
		for _, n := range l.nets {
			a := n.Addr()
			g := groups[0]
			switch {
			case a.Is4() && !v4:
				v4 = true
			case a.Is6() && a.IsLinkLocalUnicast() && !v6:
				v6 = true
				g = groups[1]
				g.Zone = l.Name
			default:
				continue
			}
			c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.zoned(a), 0)))
			if err == nil {
				out = append(out, socket{l, c, g})
			}
		}
	}
	return out
}

func (s socket) ask(ctx context.Context, msg []byte) {
	for wait := firstWait; ; wait *= 2 {
		s.conn.WriteToUDP(msg, &s.group) //nolint:errcheck // asked again, and elsewhere
		if retry.Sleep(ctx, wait, nil) != nil {
			return
		}
	}
}

func (s socket) listen(ctx context.Context, name string, answers chan<- netip.AddrPort) {
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.SetReadDeadline(time.Unix(1, 0)) })() //nolint:errcheck // closed, then
	buf := make([]byte, maxPacket)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			retry.Sleep(ctx, gatherFor, nil) //nolint:errcheck // the next read sees it
			continue
		}
		if !s.link.near(from.Addr()) {
			continue
		}
		for _, a := range found(buf[:n], name) {
			if !s.link.near(a.Addr()) {
				continue // nobody sends us anywhere else
			}
			select {
			case answers <- netip.AddrPortFrom(s.link.zoned(a.Addr()), a.Port()):
			case <-ctx.Done():
				return
			}
		}
	}
}
