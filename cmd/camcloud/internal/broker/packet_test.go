package broker

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// aConnect is the body of a CONNECT of client "abc" with a will.
func aConnect() []byte {
	c := connect{level: 4, flags: flagWill | flagWillRetain | 1<<3, keepAlive: 30, id: "abc", topic: "t", message: []byte("m")}
	b := c.marshal("user", "password")
	return b[2:] // it is short: one byte of length
}

func TestConnectRoundTrip(t *testing.T) {
	t.Parallel()
	c, err := parseConnect(aConnect())
	require.NoError(t, err)
	require.Equal(t, "abc", c.id)
	require.Equal(t, "t", c.topic)
	require.Equal(t, []byte("m"), c.message)
	require.Equal(t, byte(1), c.willQoS())
	require.NotZero(t, c.flags&flagClean, "sessions are always clean")
	require.Equal(t, uint16(30), c.keepAlive)
}

func TestS4_MalformedConnects(t *testing.T) {
	t.Parallel()
	good := aConnect()
	for n := range good {
		_, err := parseConnect(good[:n])
		require.Error(t, err, "cut at %d", n)
	}
	_, err := parseConnect(append(bytes.Clone(good), 0))
	require.Error(t, err, "something behind the end")
	for at, bad := range map[int]byte{2: 'X', 7: good[7] | 1, 13: 0xff} {
		b := bytes.Clone(good)
		b[at] = bad
		_, err := parseConnect(b)
		require.Error(t, err, "byte %d", at)
	}
}

func TestS4_LengthIsNotBelievedBeforeItIsCompared(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"256 MB":      {typePublish << 4, 0xff, 0xff, 0xff, 0x7f},
		"five bytes":  {typePublish << 4, 0xff, 0xff, 0xff, 0xff, 0x01},
		"one too big": append(appendLength([]byte{typePublish << 4}, maxPacket+1), make([]byte, maxPacket+1)...),
	} {
		r := newPackets(bytes.NewReader(b))
		_, err := r.next()
		require.Error(t, err, name)
		require.NotErrorIs(t, err, io.EOF, name)
		require.Less(t, cap(r.buf), 100, name)
	}
}

func TestP8_EngineLinesAreMasked(t *testing.T) {
	t.Parallel()
	s := cloud.NewSerial()
	line := mask("client %q publishes to %q", []any{s.Plain(), "cam.1." + s.Plain() + ".status"})
	require.NotContains(t, line, s.Plain())
	require.Contains(t, line, s.String())
}

func FuzzConnect(f *testing.F) {
	f.Add(aConnect())
	f.Add([]byte("\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConnect(b)
		if err != nil {
			return
		}
		p, err := newPackets(bytes.NewReader(c.marshal("u", "p"))).next()
		if err != nil {
			return // with the log-in it is larger than a packet may be
		}
		again, err := parseConnect(p.body)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if again.id != c.id || again.topic != c.topic || !bytes.Equal(again.message, c.message) || again.will() != c.will() {
			t.Fatalf("%+v became %+v", c, again)
		}
	})
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte{typePublish << 4, 5, 0, 1, 't', 'h', 'i'})
	f.Add(append([]byte{typeConnect << 4, byte(len(aConnect()))}, aConnect()...))
	f.Add([]byte{0xc0, 0, 0xe0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newPackets(bytes.NewReader(b))
		for {
			p, err := r.next()
			if err != nil {
				return
			}
			if len(p.raw) > maxPacket+5 || cap(r.buf) > 2*maxPacket+1024 {
				t.Fatal("more is kept than a packet may have")
			}
			g := guard{}
			_ = g.inspect(p)
		}
	})
}
