package rtsp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func addr(ip string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(ip, "40000"))
	if err != nil {
		panic(err)
	}
	return a
}

func TestS3_TooManyWrongAnswersBlockAnAddressForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(10, time.Minute)
		for i := range 9 {
			blocked, began := g.wrong(addr("10.0.0.1"))
			require.False(t, blocked || began, i)
		}
		require.False(t, g.refuses(addr("10.0.0.1")))
		blocked, began := g.wrong(addr("10.0.0.1"))
		require.True(t, blocked && began, "the tenth")
		require.True(t, g.refuses(addr("10.0.0.1")))
		require.False(t, g.refuses(addr("10.0.0.2")), "its neighbour")

		time.Sleep(30 * time.Second)
		blocked, began = g.wrong(addr("10.0.0.1")) // over a connection that was open
		require.True(t, blocked)
		require.False(t, began)
		time.Sleep(30*time.Second - 1)
		require.True(t, g.refuses(addr("10.0.0.1")))
		time.Sleep(1)
		require.False(t, g.refuses(addr("10.0.0.1")), "wrong answers while it was blocked do not make that longer")
		require.EqualValues(t, 2, g.refused.Load())
		blocked, _ = g.wrong(addr("10.0.0.1"))
		require.False(t, blocked, "a new count")
	})
}

func TestS3_WrongAnswersCountWithinThePeriodAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(10, time.Minute)
		for range 100 { // never ten within any minute
			blocked, _ := g.wrong(addr("10.0.0.1"))
			require.False(t, blocked)
			time.Sleep(6700 * time.Millisecond)
		}
		for range 9 { // nine at the end of one minute and nine at the start of the next
			g.wrong(addr("10.0.0.2"))
		}
		time.Sleep(59 * time.Second)
		blocked, _ := g.wrong(addr("10.0.0.2"))
		require.True(t, blocked)
	})
}

func TestS3_GuessersAreToldApartByAddressAndCrowdsByNetwork(t *testing.T) {
	t.Parallel()
	source := func(ip string) netip.Addr { return sourceOf(addr(ip)) }
	network := func(ip string) netip.Prefix { return networkOf(source(ip)) }
	require.Equal(t, source("10.0.0.1"), source("::ffff:10.0.0.1"))
	for _, c := range [][2]string{{"10.0.0.1", "::ffff:10.0.0.1"}, {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"}, {"fe80::1%lo", "fe80::2"}} {
		require.Equal(t, network(c[0]), network(c[1]), c)
	}
	for _, c := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"2001:db8:1:2::1", "2001:db8:1:3::1"}, {"10.0.0.1", "::10.0.0.1"}} {
		require.NotEqual(t, source(c[0]), source(c[1]), c)
		require.NotEqual(t, network(c[0]), network(c[1]), c)
	}
	for _, c := range [][2]string{{"2001:db8:1:2::1", "2001:db8:1:2::2"}, {"fe80::1%lo", "fe80::2%lo"}} {
		require.NotEqual(t, source(c[0]), source(c[1]), "neighbours are not refused with a guesser: %s", c)
	}
	for _, a := range []net.Addr{nil, &net.TCPAddr{}, &net.UDPAddr{}} {
		require.NotPanics(t, func() { networkOf(sourceOf(a)) })
	}
}

func TestS3_ATableOfGuessersIsBoundedAndGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(2, time.Minute)
		source := func(i int) net.Addr { return addr(fmt.Sprintf("10.%d.%d.1", i>>8, i&0xff)) }
		for i := range guessers + guessers/2 {
			g.wrong(source(i))
			if i == 1 || i == guessers/2 {
				g.wrong(source(0)) // blocked, and then heard of again
			}
		}
		require.Len(t, g.by, guessers)
		require.Equal(t, guessers, g.all.Len())
		require.True(t, g.blocks(source(0)), "the oldest are forgotten, not this one")
		blocked, _ := g.wrong(source(1))
		require.False(t, blocked, "forgotten")

		time.Sleep(time.Minute)
		g.wrong(source(9))
		require.Len(t, g.by, 1, "nothing is kept longer than it counts")
	})
}

func TestS3_WhoOpensManyConnectionsMakesRoom(t *testing.T) {
	t.Parallel()
	conns := func(list ...string) (all []*conn) {
		for _, ip := range list {
			all = append(all, &conn{Conn: at(ip)})
		}
		return all
	}
	for want, list := range map[int][]string{
		1: {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.2"},
		0: {"10.0.0.1", "10.0.0.2", "10.0.0.3"},
		2: {"10.0.0.1", "10.0.0.1", "fe80::1", "fe80::2", "fe80::3"},
	} {
		all := conns(list...)
		require.Same(t, all[want], crowded(all), list)
	}
	require.Nil(t, crowded(nil))
}

// at is a connection from an address, and no more.
func at(ip string) net.Conn { return from{ip: ip} }

type from struct {
	net.Conn
	ip string
}

func (f from) RemoteAddr() net.Addr { return addr(f.ip) }
