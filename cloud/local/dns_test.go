package local

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

var (
	testZone  = zone{Name(bindID), 8555}
	testAddrs = []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("fe80::5")}
)

// The name is the one that docs/local.md gives, by another program: printf 'iid2
// local%s' BINDID | sha256sum.
func TestName_IsOfTheBindingAndTellsNothing(t *testing.T) {
	t.Parallel()
	require.Equal(t, "5a2a15868a8fac01", Name(bindID))
	require.NotEqual(t, Name(bindID), Name(strings.Replace(bindID, "0", "1", 1)))
	require.True(t, IsClient(newClient()))
	for _, id := range []string{"", "app-1", "lan-", "lan-a", strings.ToUpper(newClient()), newClient() + "a"} {
		require.False(t, IsClient(id), id)
	}
}

func pack(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}

func asking(name string, kind dnsmessage.Type, class dnsmessage.Class) dnsmessage.Message {
	return dnsmessage.Message{Header: dnsmessage.Header{ID: 77},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}}}
}

func TestM5_QuestionsThatAreAnsweredAndHow(t *testing.T) {
	t.Parallel()
	all := records{srv: true, txt: true}
	for name, c := range map[string]struct {
		m     dnsmessage.Message
		wants records
	}{
		"browse":         {asking("_iid2._tcp.local.", dnsmessage.TypePTR, 1), records{ptr: true}},
		"any case":       {asking("_IID2._TCP.Local.", dnsmessage.TypePTR, 1), records{ptr: true}},
		"services":       {asking("_services._dns-sd._udp.local.", dnsmessage.TypePTR, 1), records{meta: true}},
		"instance":       {asking(testZone.instance(), dnsmessage.TypeSRV, 1), records{srv: true}},
		"all of it":      {asking(testZone.instance(), dnsmessage.TypeALL, 255), all},
		"host":           {asking(testZone.host(), dnsmessage.TypeAAAA, 1), records{addr: true}},
		"another":        {asking(Name("x")+"._iid2._tcp.local.", dnsmessage.TypeSRV, 1), records{}},
		"another kind":   {asking(testZone.host(), dnsmessage.TypeMX, 1), records{}},
		"another class":  {asking(testZone.host(), dnsmessage.TypeA, 3), records{}},
		"a printer":      {asking("_ipp._tcp.local.", dnsmessage.TypePTR, 1), records{}},
		"an answer":      {dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: asking("_iid2._tcp.local.", dnsmessage.TypePTR, 1).Questions}, records{}},
		"another opcode": {dnsmessage.Message{Header: dnsmessage.Header{OpCode: 4}, Questions: asking("_iid2._tcp.local.", dnsmessage.TypePTR, 1).Questions}, records{}},
		"known":          {knowing(otherTTL, testZone.instance()), records{}},
		"hardly known":   {knowing(otherTTL/2-1, testZone.instance()), records{ptr: true}},
		"others known":   {knowing(otherTTL, Name("x")+"."+serviceName), records{ptr: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, ok := testZone.read(pack(t, c.m))
			require.Equal(t, c.wants.any(), ok)
			require.Equal(t, c.wants, q.wants)
			require.False(t, ok && q.alone)
		})
	}
	q, ok := testZone.read(pack(t, asking(serviceName, dnsmessage.TypePTR, 1|topBit)))
	require.True(t, ok)
	require.True(t, q.alone)
}

func knowing(ttl uint32, instance string) dnsmessage.Message {
	m := asking(serviceName, dnsmessage.TypePTR, 1)
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(serviceName), Class: 1, TTL: ttl},
		Body: &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(instance)}}}
	return m
}

func unpack(t *testing.T, b []byte, err error) (m dnsmessage.Message) {
	t.Helper()
	require.NoError(t, err)
	require.NoError(t, m.Unpack(b))
	return m
}

func kinds(list []dnsmessage.Resource) (out []string) {
	for _, r := range list {
		out = append(out, strings.TrimPrefix(r.Header.Type.String(), "Type"))
	}
	return out
}

func TestM5_AnswersToAllAndToOne(t *testing.T) {
	t.Parallel()
	b, err := testZone.answer(records{ptr: true}, testAddrs)
	m := unpack(t, b, err)
	require.Equal(t, dnsmessage.Header{Response: true, Authoritative: true}, m.Header)
	require.Empty(t, m.Questions)
	require.Equal(t, []string{"PTR"}, kinds(m.Answers))
	require.Equal(t, []string{"SRV", "TXT", "A", "AAAA"}, kinds(m.Additionals))
	require.EqualValues(t, 1, m.Answers[0].Header.Class, "others answer too")
	require.EqualValues(t, 1|topBit, m.Additionals[0].Header.Class)
	require.EqualValues(t, 120, m.Additionals[0].Header.TTL)
	require.Equal(t, &dnsmessage.TXTResource{TXT: []string{"v=1"}}, m.Additionals[1].Body)

	q, ok := testZone.read(pack(t, asking(testZone.instance(), dnsmessage.TypeSRV, 1)))
	require.True(t, ok)
	b, err = testZone.answerOnce(q, testAddrs)
	m = unpack(t, b, err)
	require.EqualValues(t, 77, m.ID)
	require.Equal(t, testZone.instance(), m.Questions[0].Name.String())
	require.Equal(t, []string{"SRV"}, kinds(m.Answers))
	require.Equal(t, []string{"A", "AAAA"}, kinds(m.Additionals))
	require.EqualValues(t, 10, m.Answers[0].Header.TTL)
	require.EqualValues(t, 1, m.Answers[0].Header.Class, "who asks once knows no other")
	want := []netip.AddrPort{netip.AddrPortFrom(testAddrs[0], 8555), netip.AddrPortFrom(testAddrs[1], 8555)}
	require.Equal(t, want, found(b, testZone.name))
	require.Empty(t, found(b, Name("x")))

	many, err := testZone.answer(records{srv: true}, slices.Repeat(testAddrs, 10))
	require.NoError(t, err)
	require.Len(t, found(many, testZone.name), 8)

	b, err = testZone.goodbye(testAddrs)
	m = unpack(t, b, err)
	require.Zero(t, m.Answers[0].Header.TTL)
	require.Empty(t, found(b[:20], testZone.name))
}

// Nothing but what members could work out themselves is told.
func TestP8_NothingThatIsSaidNamesTheCamera(t *testing.T) {
	t.Parallel()
	b, err := testZone.answer(records{true, true, true, true, true}, testAddrs)
	m := unpack(t, b, err)
	text := m.GoString()
	require.NotContains(t, text, bindID)
	require.NotContains(t, strings.ToLower(text), "camera")
	require.LessOrEqual(t, len(b), 512)
}

func TestFind_OnlyAddressesOfTheOwnLinkCount(t *testing.T) {
	t.Parallel()
	l := link{net.Interface{Name: "eth0"}, []netip.Prefix{netip.MustParsePrefix("192.168.1.7/24"), netip.MustParsePrefix("fe80::7/64")}}
	for a, near := range map[string]bool{"192.168.1.5": true, "::ffff:192.168.1.5": true, "fe80::5%eth0": true,
		"192.168.2.5": false, "8.8.8.8": false, "fd00::1": false, "127.0.0.1": false} {
		require.Equal(t, near, l.near(netip.MustParseAddr(a)), a)
	}
	require.Equal(t, "fe80::5%eth0", l.zoned(netip.MustParseAddr("fe80::5")).String())
	for listens, want := range map[string]int{"::": 2, "0.0.0.0": 1, "192.168.1.7": 1, "192.168.1.8": 0} {
		r := &responder{ip: netip.MustParseAddr(listens)}
		require.Len(t, r.serves(l), want, listens)
	}
}

// FuzzDNS takes any packet for a question, and for an answer.
func FuzzDNS(f *testing.F) {
	for _, kind := range []dnsmessage.Type{dnsmessage.TypePTR, dnsmessage.TypeALL, dnsmessage.TypeSRV} {
		for _, name := range []string{serviceName, metaName, testZone.instance(), testZone.host()} {
			f.Add(pack(f, asking(name, kind, 1|topBit)))
		}
	}
	f.Add(pack(f, knowing(otherTTL, testZone.instance())))
	for _, w := range []records{{ptr: true}, {srv: true}, {addr: true}} {
		b, err := testZone.answer(w, testAddrs)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, ok := testZone.read(b); ok {
			require.True(t, q.wants.any())
			once, err := testZone.answerOnce(q, testAddrs)
			require.NoError(t, err)
			all, err := testZone.answer(q.wants, testAddrs)
			require.NoError(t, err)
			for _, b := range [][]byte{once, all} {
				require.LessOrEqual(t, len(b), 1024, "asking is worth little to who makes others be answered")
				_, ok := testZone.read(b)
				require.False(t, ok, "an answer was taken for a question")
			}
		}
		require.LessOrEqual(t, len(found(b, testZone.name)), maxFound)
	})
}
