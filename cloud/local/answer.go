package local

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"iid2secure.nl/camagent/cloud/retry"
)

const (
	dnsPort    = 5353
	maxPacket  = 9000             // RFC 6762, 17
	lookEvery  = 10 * time.Second // for interfaces that came and went
	perSecond  = 10               // answers on one link
	repeatWait = time.Second      // between answers to everybody (RFC 6762, 6)
)

// groups are those of multicast DNS.
var groups = []net.UDPAddr{
	{IP: net.IPv4(224, 0, 0, 251), Port: dnsPort},
	{IP: net.ParseIP("ff02::fb"), Port: dnsPort},
}

// Answer answers DNS-SD for a camera that listens on addr, on the links by which
// that is reached, until ctx ends. A camera that listens on loopback is told to
// nobody. Where nothing can be heard (the port is taken, there is no network), it
// goes on trying.
func Answer(ctx context.Context, name string, addr net.Addr, log *zap.Logger) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return
	}
	r := &responder{zone: zone{name, uint16(tcp.Port)}, ip: tcp.AddrPort().Addr().Unmap(), log: log, ears: map[string]*ear{}}
	defer r.work.Wait()
	for ctx.Err() == nil {
		r.look(ctx)
		retry.Sleep(ctx, lookEvery, nil) //nolint:errcheck // the loop sees it
	}
}

// responder is used by Answer's goroutine alone.
type responder struct {
	zone zone
	ip   netip.Addr // where the camera listens; unspecified: everywhere
	log  *zap.Logger
	work sync.WaitGroup
	ears map[string]*ear // by interface and group
	deaf map[string]bool // told in the log
}

// ear hears one group on one link.
type ear struct {
	link
	zone  zone
	addrs []netip.Addr
	group net.UDPAddr
	conn  *net.UDPConn
	rate  *rate.Limiter
	last  time.Time // of an answer to everybody
	end   context.CancelFunc
	done  chan struct{}
}

// serves lists the camera's addresses on a link.
func (r *responder) serves(l link) (out []netip.Addr) {
	for _, n := range l.nets {
		a := n.Addr()
		if !r.ip.IsUnspecified() && a != r.ip.WithZone("") || r.ip == netip.IPv4Unspecified() && !a.Is4() {
			continue
		}
		out = append(out, a)
	}
	return out
}

// look sees to it that there is an ear on each link that is there, and none else.
func (r *responder) look(ctx context.Context) {
	deaf := map[string]bool{}
	seen := map[string]bool{}
	for _, l := range links() {
		addrs := r.serves(l)
		for _, g := range groups {
			if !slices.ContainsFunc(l.nets, func(n netip.Prefix) bool { return n.Addr().Is4() == (g.IP.To4() != nil) }) || len(addrs) == 0 {
				continue
			}
			key := l.Name + " " + g.IP.String()
			if old := r.ears[key]; old != nil && old.working() && old.Index == l.Index && slices.Equal(old.addrs, addrs) {
				seen[key] = true
				continue
			}
			r.forget(key)
			if err := r.hear(ctx, key, l, addrs, g); err != nil {
				if deaf[key] = true; !r.deaf[key] {
					r.log.Warn("the camera is not found by name", zap.String("interface", l.Name), zap.Error(err))
				}
				continue
			}
			seen[key] = true
		}
	}
	r.deaf = deaf
	for key := range r.ears {
		if !seen[key] {
			r.forget(key)
		}
	}
}

func (r *responder) forget(key string) {
	if e := r.ears[key]; e != nil {
		e.end()
		<-e.done
		delete(r.ears, key)
	}
}

func (r *responder) hear(ctx context.Context, key string, l link, addrs []netip.Addr, g net.UDPAddr) error {
	network := "udp4"
	if g.IP.To4() == nil {
		network = "udp6"
	}
	conn, err := net.ListenMulticastUDP(network, &l.Interface, &g)
	if err != nil {
		return err
	}
	if err := tune(conn, g.IP.To4() != nil); err != nil {
		conn.Close()
		return err
	}
	g.Zone = ""
	if g.IP.To4() == nil {
		g.Zone = l.Name
	}
	e := &ear{link: l, zone: r.zone, addrs: addrs, group: g, conn: conn, rate: rate.NewLimiter(perSecond, perSecond), done: make(chan struct{})}
	ctx, e.end = context.WithCancel(ctx)
	r.ears[key] = e
	r.work.Go(func() { e.run(ctx) })
	return nil
}

func (e *ear) working() bool {
	select {
	case <-e.done:
		return false
	default:
		return true
	}
}

// run announces the camera twice (RFC 6762, 8.3), answers, and says goodbye.
func (e *ear) run(ctx context.Context) {
	defer close(e.done)
	var announcing sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { e.conn.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed, then
	defer stop()
	announcing.Go(func() {
		for range 2 {
			e.say(e.zone.answer(records{ptr: true}, e.addrs))
			if retry.Sleep(ctx, time.Second, nil) != nil {
				return
			}
		}
	})
	buf := make([]byte, maxPacket)
	for ctx.Err() == nil {
		n, from, err := e.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			break
		}
		e.heard(ctx, buf[:n], from)
	}
	e.end()
	announcing.Wait()
	e.say(e.zone.goodbye(e.addrs))
	e.conn.Close()
}

// heard answers who asks: alone, if it wishes that and is on this link.
func (e *ear) heard(ctx context.Context, msg []byte, from netip.AddrPort) {
	q, ok := e.zone.read(msg)
	if !ok || !e.near(from.Addr()) || !e.rate.Allow() {
		return
	}
	switch {
	case from.Port() != dnsPort:
		e.tell(from)(e.zone.answerOnce(q, e.addrs))
	case q.alone:
		e.tell(from)(e.zone.answer(q.wants, e.addrs))
	case time.Since(e.last) >= repeatWait:
		if q.wants.ptr || q.wants.meta { // others may answer too (RFC 6762, 6)
			retry.Sleep(ctx, 20*time.Millisecond+rand.N(100*time.Millisecond), nil) //nolint:errcheck // it is said or not
		}
		e.last = time.Now()
		e.say(e.zone.answer(q.wants, e.addrs))
	}
}

func (e *ear) say(msg []byte, err error) {
	if err == nil {
		e.conn.WriteToUDP(msg, &e.group) //nolint:errcheck // who asked asks again
	}
}

func (e *ear) tell(to netip.AddrPort) func([]byte, error) {
	return func(msg []byte, err error) {
		if err == nil {
			e.conn.WriteToUDPAddrPort(msg, to) //nolint:errcheck // the same
		}
	}
}
