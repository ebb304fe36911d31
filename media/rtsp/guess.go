package rtsp

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// guessers is how many addresses that gave wrong answers are remembered.
const guessers = 4096

// guard refuses addresses that guess passwords. S3.
type guard struct {
	limit   int
	period  time.Duration
	blocked atomic.Uint64 // connections refused

	mu   sync.Mutex
	seen map[netip.Prefix]*guesser
}

// guesser is an address that gave wrong answers.
type guesser struct {
	wrong []time.Time // within the period, the oldest first
	until time.Time   // it is refused so long
}

// refuses tells, for a connection that has just been accepted from a, that it is
// to be closed at once, and counts it.
func (g *guard) refuses(a net.Addr) bool {
	if !g.blocks(a) {
		return false
	}
	g.blocked.Add(1)
	return true
}

// blocks tells whether a is refused now.
func (g *guard) blocks(a net.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.seen[source(a)]
	return e != nil && time.Now().Before(e.until)
}

// source is what guesses are counted by: an IPv4 address, or the network that one
// host may take any IPv6 address of.
func source(a net.Addr) netip.Prefix {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
