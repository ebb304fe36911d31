package local

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Names of the zone that multicast DNS serves.
const (
	serviceName = Service + ".local."
	metaName    = "_services._dns-sd._udp.local." // RFC 6763, 9
)

// Seconds for which others may keep what they hear (RFC 6762, 10), and who asks
// but once (6.7).
const (
	hostTTL   = 120
	otherTTL  = 75 * 60
	legacyTTL = 10
)

const (
	topBit       = 1 << 15 // of a class: answer to me alone, or forget what you knew
	maxQuestions = 16
	maxFound     = 8
)

// zone is what a camera says of itself. It has one name, of 64 bits that are as
// good as random, so that it is not probed for before it is used.
type zone struct {
	name string
	port uint16
}

func (z zone) instance() string { return z.name + "." + serviceName }
func (z zone) host() string     { return z.name + ".local." }

// records is a set of kinds.
type records struct{ meta, ptr, srv, txt, addr bool }

func (r records) any() bool { return r != records{} }

// wanted is what a question asks for of this zone.
func (z zone) wanted(q dnsmessage.Question) (r records) {
	if c := q.Class &^ topBit; c != dnsmessage.ClassINET && c != dnsmessage.ClassANY {
		return r
	}
	is := func(types ...dnsmessage.Type) bool {
		return q.Type == dnsmessage.TypeALL || slices.Contains(types, q.Type)
	}
	switch name := q.Name.String(); {
	case strings.EqualFold(name, metaName):
		r.meta = is(dnsmessage.TypePTR)
	case strings.EqualFold(name, serviceName):
		r.ptr = is(dnsmessage.TypePTR)
	case strings.EqualFold(name, z.instance()):
		r.srv, r.txt = is(dnsmessage.TypeSRV), is(dnsmessage.TypeTXT)
	case strings.EqualFold(name, z.host()):
		r.addr = is(dnsmessage.TypeA, dnsmessage.TypeAAAA)
	}
	return r
}

func (r records) and(o records) records {
	return records{r.meta || o.meta, r.ptr || o.ptr, r.srv || o.srv, r.txt || o.txt, r.addr || o.addr}
}

// query is one that this zone has an answer to.
type query struct {
	id       uint16
	question dnsmessage.Question // the first that was meant
	wants    records
	alone    bool // the answer may go to who asks alone
}

// read understands a query; ok is false if it is none, or there is nothing to say.
// Any bytes are allowed.
func (z zone) read(msg []byte) (q query, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response || h.OpCode != 0 {
		return q, false
	}
	q.id, q.alone = h.ID, true
	for range maxQuestions {
		one, err := p.Question()
		if err != nil {
			break
		}
		if w := z.wanted(one); w.any() {
			if !q.wants.any() {
				q.question = one
			}
			q.wants = q.wants.and(w)
			q.alone = q.alone && one.Class&topBit != 0
		}
	}
	if q.wants.ptr && p.SkipAllQuestions() == nil && z.known(&p) {
		q.wants.ptr = false
	}
	return q, q.wants.any()
}

// known tells whether who asks knows us, for long enough (RFC 6762, 7.1).
func (z zone) known(p *dnsmessage.Parser) bool {
	for range maxQuestions {
		h, err := p.AnswerHeader()
		if err != nil {
			return false
		}
		if h.Type != dnsmessage.TypePTR || !strings.EqualFold(h.Name.String(), serviceName) {
			if p.SkipAnswer() != nil {
				return false
			}
			continue
		}
		r, err := p.PTRResource()
		if err != nil {
			return false
		}
		if h.TTL >= otherTTL/2 && strings.EqualFold(r.PTR.String(), z.instance()) {
			return true
		}
	}
	return false
}

// answer makes the answer to everybody.
func (z zone) answer(w records, addrs []netip.Addr) ([]byte, error) {
	return z.write(writing{}, w, addrs)
}

// answerOnce makes the answer to one who asks from a port of its own, and may be
// no resolver of multicast DNS (RFC 6762, 6.7).
func (z zone) answerOnce(q query, addrs []netip.Addr) ([]byte, error) {
	return z.write(writing{once: &q}, q.wants, addrs)
}

// goodbye takes back what was announced.
func (z zone) goodbye(addrs []netip.Addr) ([]byte, error) {
	return z.write(writing{bye: true}, records{ptr: true}, addrs)
}

// writing is how an answer is written.
type writing struct {
	once *query
	bye  bool
}

func (w writing) header(name dnsmessage.Name, ttl uint32, unique bool) dnsmessage.ResourceHeader {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}
	switch {
	case w.bye:
		h.TTL = 0
	case w.once != nil:
		h.TTL = min(ttl, legacyTTL)
	}
	if unique && w.once == nil {
		h.Class |= topBit
	}
	return h
}

func (z zone) write(w writing, r records, addrs []netip.Addr) ([]byte, error) {
	h := dnsmessage.Header{Response: true, Authoritative: true}
	if w.once != nil {
		h.ID = w.once.id
	}
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	if w.once != nil {
		one := w.once.question
		one.Class &^= topBit
		if err := b.StartQuestions(); err != nil {
			return nil, err
		}
		if err := b.Question(one); err != nil {
			return nil, err
		}
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	if err := z.put(&b, w, r, addrs); err != nil {
		return nil, err
	}
	if err := b.StartAdditionals(); err != nil {
		return nil, err
	}
	if err := z.put(&b, w, r.more(), addrs); err != nil {
		return nil, err
	}
	return b.Finish()
}

// more is what who asks for r will ask for next (RFC 6763, 12).
func (r records) more() records {
	next := records{srv: r.ptr && !r.srv, txt: r.ptr && !r.txt}
	next.addr = (r.ptr || r.srv) && !r.addr
	return next
}

func (z zone) put(b *dnsmessage.Builder, w writing, r records, addrs []netip.Addr) error {
	meta, service := dnsmessage.MustNewName(metaName), dnsmessage.MustNewName(serviceName)
	instance, err := dnsmessage.NewName(z.instance())
	if err != nil {
		return err
	}
	host, err := dnsmessage.NewName(z.host())
	if err != nil {
		return err
	}
	if r.meta {
		err = b.PTRResource(w.header(meta, otherTTL, false), dnsmessage.PTRResource{PTR: service})
	}
	if r.ptr && err == nil {
		err = b.PTRResource(w.header(service, otherTTL, false), dnsmessage.PTRResource{PTR: instance})
	}
	if r.srv && err == nil {
		err = b.SRVResource(w.header(instance, hostTTL, true), dnsmessage.SRVResource{Port: z.port, Target: host})
	}
	if r.txt && err == nil {
		err = b.TXTResource(w.header(instance, otherTTL, true), dnsmessage.TXTResource{TXT: []string{"v=1"}})
	}
	for _, a := range addrs {
		if !r.addr || err != nil {
			break
		}
		if a.Is4() {
			err = b.AResource(w.header(host, hostTTL, true), dnsmessage.AResource{A: a.As4()})
		} else {
			err = b.AAAAResource(w.header(host, hostTTL, true), dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return err
}

// question asks for the camera of the name.
func question(name string) ([]byte, error) {
	z := zone{name: name}
	instance, err := dnsmessage.NewName(z.instance())
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: instance, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

// found reads out of an answer where the camera of the name is said to be. Any
// bytes are allowed.
func found(msg []byte, name string) (out []netip.AddrPort) {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil || !m.Response {
		return nil
	}
	z := zone{name: name}
	all := append(m.Answers, m.Additionals...)
	var port uint16
	var host string
	for _, r := range all {
		if srv, ok := r.Body.(*dnsmessage.SRVResource); ok && strings.EqualFold(r.Header.Name.String(), z.instance()) {
			port, host = srv.Port, srv.Target.String()
		}
	}
	for _, r := range all {
		if port == 0 || len(out) >= maxFound || !strings.EqualFold(r.Header.Name.String(), host) {
			continue
		}
		switch a := r.Body.(type) {
		case *dnsmessage.AResource:
			out = append(out, netip.AddrPortFrom(netip.AddrFrom4(a.A), port))
		case *dnsmessage.AAAAResource:
			out = append(out, netip.AddrPortFrom(netip.AddrFrom16(a.AAAA).Unmap(), port))
		}
	}
	return out
}
