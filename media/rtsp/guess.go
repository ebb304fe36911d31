package rtsp

import (
	"container/list"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// guessers is how many sources of wrong answers are remembered.
const guessers = 4096

// guard refuses sources of too many wrong answers for a while (S3). It is asked
// for every connection before anything else is done for it.
type guard struct {
	limit   int           // wrong answers
	period  time.Duration // within which they count, and for which a source is refused
	refused atomic.Uint64 // connections

	mu  sync.Mutex
	by  map[netip.Addr]*list.Element
	all *list.List // of *guesser, the one with the newest wrong answer last
}

// guesser is a source that gave wrong answers. It goes once it has neither any
// within the period nor is refused.
type guesser struct {
	source netip.Addr
	wrong  []time.Time // within the period, the oldest first
	until  time.Time   // it is refused so long
}

func newGuard(limit int, period time.Duration) *guard {
	return &guard{limit: limit, period: period, by: map[netip.Addr]*list.Element{}, all: list.New()}
}

// refuses tells, for a connection that has just been accepted from a, that it is
// to be closed at once, and counts it.
func (g *guard) refuses(a net.Addr) bool {
	if !g.blocks(a) {
		return false
	}
	g.refused.Add(1)
	return true
}

// blocks tells whether a is refused now.
func (g *guard) blocks(a net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.by[sourceOf(a)]
	return e != nil && time.Now().Before(e.Value.(*guesser).until)
}

// wrong notes a wrong answer from a; began says that this one has a refused from
// now on. What comes while a is refused does not make that longer: a client with
// an old password is back in time after it was given the new one.
func (g *guard) wrong(a net.Addr) (blocked, began bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(now)
	e := g.guesser(sourceOf(a))
	if now.Before(e.until) {
		return true, false
	}
	e.wrong = slices.DeleteFunc(e.wrong, func(t time.Time) bool { return now.Sub(t) >= g.period })
	if e.wrong = append(e.wrong, now); len(e.wrong) < g.limit {
		return false, false
	}
	e.wrong, e.until = nil, now.Add(g.period)
	return true, true
}

// guesser returns what is known of a source; the one heard of longest ago makes
// room for a new one.
func (g *guard) guesser(source netip.Addr) *guesser {
	if e := g.by[source]; e != nil {
		g.all.MoveToBack(e)
		return e.Value.(*guesser)
	}
	if g.all.Len() >= guessers {
		g.remove(g.all.Front())
	}
	e := &guesser{source: source}
	g.by[source] = g.all.PushBack(e)
	return e
}

// forget gives back what no longer counts.
func (g *guard) forget(now time.Time) {
	for e := g.all.Front(); e != nil; e = g.all.Front() {
		old := e.Value.(*guesser)
		if now.Before(old.until) || len(old.wrong) > 0 && now.Sub(old.wrong[len(old.wrong)-1]) < g.period {
			return
		}
		g.remove(e)
	}
}

func (g *guard) remove(e *list.Element) {
	delete(g.by, e.Value.(*guesser).source)
	g.all.Remove(e)
}

// crowded returns the oldest of those connections whose network has most of them:
// one that opens many makes room for its own, and keeps nobody else out.
func crowded(all []*conn) *conn {
	var worst *conn
	most, count := 0, make(map[netip.Prefix]int, len(all))
	for _, c := range slices.Backward(all) {
		from := networkOf(sourceOf(c.RemoteAddr()))
		if count[from]++; count[from] >= most {
			worst, most = c, count[from]
		}
	}
	return worst
}

// sourceOf is what wrong answers are counted by: an address, although a host may
// give itself many of IPv6. By its network all neighbours of a guesser would be
// refused with it, and the password is too long to be guessed from any number of
// addresses.
func sourceOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap()
}

// networkOf is what connections of strangers are counted by: an IPv4 address, or
// the network in which a host may give itself any IPv6 address.
func networkOf(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address at all
	}
	return p
}
