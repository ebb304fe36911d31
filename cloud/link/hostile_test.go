package link

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
)

func nopLog() *zap.Logger { return zap.NewNop() }

func TestP4_NoConnectionWithoutTrust(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	script := func(c net.Conn) { io.Copy(io.Discard, c) }
	clear, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { clear.Close() })
	go func() {
		for {
			c, err := clear.Accept()
			if err != nil {
				return
			}
			c.Write([]byte{0x20, 2, 0, 0, 0xd0, 0}) // a plain CONNACK
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	certificate := func(a *authority, name string, until time.Time) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{a.issue(t, name, until)} }
	}
	cases := []struct {
		name, addr string
		kind       error
		says       string
	}{
		{"wrong CA", rawBroker(t, foreign, nil, script), ErrUntrusted, "unknown authority"},
		{"wrong name", rawBroker(t, ca, certificate(ca, "other.example.com", soon()), script), ErrUntrusted, "127.0.0.1"},
		{"expired", rawBroker(t, ca, certificate(ca, "127.0.0.1", time.Now().Add(-time.Minute)), script), ErrUntrusted, "expired"},
		{"TLS 1.2 only", rawBroker(t, ca, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, script), ErrUntrusted, "protocol version"},
		{"plaintext", clear.Addr().String(), ErrUntrusted, "does not look like a TLS handshake"},
		{"nobody there", freeAddr(t), ErrOffline, "connection refused"},
	}
	for _, c := range cases {
		_, err := DialApp(limit(t), AppConfig{Broker: c.addr, ClientID: "anna",
			TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(t, "anna", soon())}, MinVersion: tls.VersionTLS10}})
		require.ErrorIs(t, err, c.kind, c.name)
		require.ErrorContains(t, err, c.says, c.name)
		require.ErrorContains(t, err, c.addr)
		require.NotContains(t, err.Error(), "\n")
		t.Log(err)
	}
}

func TestP4_ConfigurationCannotWeaken(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	own := []tls.Certificate{{}}
	for _, c := range []*tls.Config{
		nil, {}, {Certificates: own}, {RootCAs: ca.pool()}, {RootCAs: ca.pool(), Certificates: own, InsecureSkipVerify: true},
	} {
		_, err := NewDevice(DeviceConfig{Broker: "h:1", TLS: c})
		require.Error(t, err)
		_, err = DialApp(t.Context(), AppConfig{Broker: "h:1", TLS: c, ClientID: "a"})
		require.Error(t, err)
	}
	good := &tls.Config{RootCAs: ca.pool(), Certificates: own}
	for _, broker := range []string{"", "host", ":1", "ssl://h:1"} {
		_, err := NewDevice(DeviceConfig{Broker: broker, TLS: good})
		require.ErrorContains(t, err, "host:port", broker)
	}
	_, err := DialApp(t.Context(), AppConfig{Broker: "h:1", TLS: good, ClientID: "../x"})
	require.ErrorContains(t, err, "client id")
}

func TestRefusedByTheBroker(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	stranger := newAuthority(t)
	_, err := DialApp(limit(t), AppConfig{Broker: m.apps, ClientID: "anna",
		TLS: &tls.Config{RootCAs: m.server.pool(), Certificates: []tls.Certificate{stranger.issue(t, "anna", soon())}}})
	require.ErrorIs(t, err, ErrRefused)
	// A camera's certificate opens nothing at the apps' listener.
	_, err = DialApp(limit(t), AppConfig{Broker: m.apps, ClientID: "anna", TLS: m.deviceTLS(t, camera)})
	require.ErrorIs(t, err, ErrRefused)
	t.Log(err)

	ca := newAuthority(t)
	addr := rawBroker(t, ca, nil, func(c net.Conn) { readPacket(c); c.Write([]byte{0x20, 2, 0, 5}); io.Copy(io.Discard, c) })
	_, err = DialApp(limit(t), AppConfig{Broker: addr, ClientID: "anna",
		TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(t, "anna", soon())}}})
	require.ErrorIs(t, err, ErrRefused)
}

// A broker that does not answer is given up when the context ends.
func TestS4_NoAnswerToConnect(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addr := rawBroker(t, ca, nil, func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := DialApp(ctx, AppConfig{Broker: addr, ClientID: "anna",
		TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(t, "anna", soon())}}})
	require.ErrorIs(t, err, ErrOffline)
	require.ErrorContains(t, err, "no answer in time")
}

// Whatever a broker sends: an error, no panic, no memory.
func TestS4_HostileBroker(t *testing.T) {
	t.Parallel()
	topic := cloud.TopicIn(camera, "anna")
	cases := map[string]struct {
		early, late []byte // instead of CONNACK; after the subscriptions
	}{
		"garbage at once":              {early: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},
		"publish before connack":       {early: publishPacket(0, topic, []byte("x"))},
		"unknown connack code":         {early: []byte{0x20, 2, 0, 0x42}},
		"long connack":                 {early: []byte{0x20, 0xff, 0xff, 0xff, 0x7f}},
		"256 MB announced":             {late: []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'x'}},
		"a byte too much":              {late: publishPacket(0, topic, make([]byte, maxPublish-2-len(topic)+1))},
		"length without end":           {late: []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}},
		"suback with many codes":       {late: append([]byte{0x90, 40, 0, 1}, make([]byte, 38)...)},
		"suback of nothing":            {late: []byte{0x90, 2, 0, 1}},
		"second connack":               {late: []byte{0x20, 2, 0, 0}},
		"connect from the broker":      {late: []byte{0x10, 0}},
		"QoS 2":                        {late: publishPacket(4, topic, []byte("x"))},
		"QoS 3":                        {late: publishPacket(6, topic, []byte("x"))},
		"pubrec":                       {late: []byte{0x50, 2, 0, 1}},
		"topic longer than the packet": {late: []byte{0x30, 4, 0xff, 0xff, 'a', 'b'}},
		"no topic":                     {late: []byte{0x30, 3, 0, 0, 'x'}},
		"too short for a topic":        {late: []byte{0x30, 1, 0}},
		"type 0":                       {late: []byte{0x00, 0}},
		"type 15":                      {late: []byte{0xf0, 0}},
		"long pingresp":                {late: []byte{0xd0, 5, 1, 2, 3, 4, 5}},
	}
	ca := newAuthority(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := make(chan struct{}, 100)
			addr := rawBroker(t, ca, nil, func(conn net.Conn) {
				if c.early != nil {
					readPacket(conn)
					conn.Write(c.early)
				} else if greet(conn) == nil {
					conn.Write(c.late)
				}
				sent <- struct{}{}
				io.Copy(io.Discard, conn)
			})
			d, _ := runDevice(t, DeviceConfig{Broker: addr, Serial: camera,
				TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(t, camera.Plain(), soon())}}})
			<-sent
			eventually(t, func() bool { return d.Stats().LastError != nil })
			require.Zero(t, d.Stats().InboxWaiting)
		})
	}
}

// Odd, but no reason to end a connection: unknown topics, empty payloads,
// acknowledgements of nothing.
func TestS4_OddMessagesHaveNoEffect(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	odd := [][]byte{
		publishPacket(0, "x", []byte("y")), publishPacket(0, cloud.TopicIn(other, "anna"), []byte("y")),
		publishPacket(0, cloud.TopicIn(camera, "AN NA"), []byte("y")), publishPacket(0, cloud.TopicIn(camera, "anna"), nil),
		publishPacket(1, cloud.TopicIn(camera, "anna"), []byte("retained")), publishPacket(0, cloud.TopicStatus(camera), []byte("y")),
		publishPacket(0, cloud.TopicAnswer(camera), []byte("{")), publishPacket(0, "cam/1/\xff\xfe/in/\x00", []byte("y")),
		publishPacket(0, "$SYS/x", []byte("y")), {0x40, 2, 0xff, 0xff}, {0x90, 3, 0xff, 0xff, 1}, {0xb0, 2, 0, 1}, {0xd0, 0},
		publishPacket(0, cloud.TopicIn(camera, "anna"), []byte("good")), publishPacket(2, cloud.TopicIn(camera, "ben"), []byte("QoS 1")),
	}
	addr := rawBroker(t, ca, nil, func(c net.Conn) {
		if greet(c) == nil {
			for _, p := range odd {
				c.Write(p)
			}
		}
		io.Copy(io.Discard, c)
	})
	d, _ := runDevice(t, DeviceConfig{Broker: addr, Serial: camera,
		TLS: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue(t, camera.Plain(), soon())}}})
	require.Equal(t, Message{"anna", []byte("good")}, <-d.Inbox())
	require.Equal(t, Message{"ben", []byte("QoS 1")}, <-d.Inbox())
	require.EqualValues(t, 9, d.Stats().Ignored)
	require.True(t, d.Online())
}

func TestS4_HeadersAreCheckedBeforeMemoryIsTaken(t *testing.T) {
	t.Parallel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a, b := net.Pipe()
	go func() { b.Write([]byte{0x20, 2, 0, 0, 0x30, 0xff, 0xff, 0xff, 0x7f}); b.Close() }()
	g := &guard{Conn: a}
	_, err := packets.ReadPacket(g)
	require.NoError(t, err)
	_, err = packets.ReadPacket(g)
	require.ErrorIs(t, err, ErrTooLarge)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20))
}

// Whatever passes the guard, the library takes without panic, and however the
// stream is cut, the verdict is the same. S5
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x30, 5, 0, 1, 'a', 'b', 'c', 0xd0, 0}, uint8(1))
	f.Add(append([]byte{0x20, 2, 0, 0}, publishPacket(2, "cam/1/x/in/y", []byte("z"))...), uint8(3))
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0x80, 0x40, 2, 0, 1}, uint8(2))
	f.Add([]byte{0x20, 2, 0, 0, 0x30, 0xff, 0xff, 0x7f}, uint8(7))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		var whole, cut scanner
		want := whole.feed(raw)
		n := int(step)%16 + 1
		var got error
		for rest := raw; len(rest) > 0 && got == nil; rest = rest[min(n, len(rest)):] {
			got = cut.feed(rest[:min(n, len(rest))])
		}
		if (want == nil) != (got == nil) {
			t.Fatalf("whole: %v, cut: %v", want, got)
		}
		a, b := net.Pipe()
		go func() { b.Write(raw); b.Close() }()
		defer a.Close()
		g := &guard{Conn: a}
		for {
			p, err := packets.ReadPacket(g)
			if err != nil {
				break
			}
			if s, ok := p.(*packets.SubackPacket); ok && len(s.ReturnCodes) != 1 {
				t.Fatal("a SUBACK that panics")
			}
			if m, ok := p.(*packets.PublishPacket); ok && (len(m.Payload) > maxPublish || m.Qos > 1) {
				t.Fatal("a PUBLISH too large")
			}
		}
	})
}
