package local

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func frames(t testing.TB, msgs ...[]byte) (b []byte) {
	t.Helper()
	for _, m := range msgs {
		var err error
		b, err = appendFrame(b, m)
		require.NoError(t, err)
	}
	return b
}

func TestM3_MessagesBothWaysInOrderAndWhole(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b := r.join("10.0.0.1", true), r.join("10.0.0.1", true)
		var want []Message
		for i, size := range []int{1, 100, 4 << 10, 64 << 10} {
			for _, c := range []*Conn{a, b} {
				msg := bytes.Repeat([]byte{byte(i + 1)}, size)
				require.NoError(t, c.Send(t.Context(), msg))
				want = append(want, Message{c.Client(), msg})
				synctest.Wait()
				require.True(t, r.Send(c.Client(), msg))
				got, err := c.Receive(t.Context())
				require.NoError(t, err)
				require.Equal(t, msg, got)
			}
		}
		require.Equal(t, want, r.messages())
		require.Error(t, a.Send(t.Context(), nil))
		require.Error(t, a.Send(t.Context(), make([]byte, 64<<10+1)))
		require.False(t, r.Send(a.Client(), make([]byte, 64<<10+1)))
		require.False(t, r.Send(newClient(), proof))
		late := r.join("10.0.0.1", false) // whose reader waits already when it is known
		require.True(t, r.Send(late.Client(), proof))
		_, err := late.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, late.Send(t.Context(), make([]byte, 64<<10)))
		require.Len(t, r.messages(), len(want)+1)
		require.NoError(t, a.Close())
		synctest.Wait()
		require.False(t, r.Send(a.Client(), proof))
		require.True(t, r.Send(b.Client(), proof))
		_, err = b.Receive(t.Context())
		require.NoError(t, err)
	})
}

// What breaks a rule ends the connection at once, and is not answered.
func TestS4_WhatBreaksARuleEndsTheConnectionWithoutAWord(t *testing.T) {
	small := func(n int) (b [][]byte) {
		for range n {
			b = append(b, []byte("handshake"))
		}
		return b
	}
	head := func(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
	ok := string(hello(newClient()))
	for name, c := range map[string]struct {
		sent  []byte
		heard int // messages of it that count
		ends  bool
	}{
		"nothing":                      {nil, 0, false},
		"half a head":                  {[]byte{0, 0}, 0, false},
		"a hello":                      {frames(t, []byte(ok)), 0, false},
		"16 messages":                  {frames(t, append([][]byte{[]byte(ok)}, small(16)...)...), 16, false},
		"17 messages":                  {frames(t, append([][]byte{[]byte(ok)}, small(17)...)...), 16, true},
		"HTTP":                         {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0, true},
		"TLS":                          {[]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc}, 0, true},
		"an empty frame":               {head(0), 0, true},
		"a hello that is too long":     {head(65), 0, true},
		"a hello of 4 GiB":             {head(1<<32 - 1), 0, true},
		"another version":              {frames(t, []byte("iid2/local/2 "+newClient())), 0, true},
		"a broker's client":            {frames(t, []byte(helloText+"app-1")), 0, true},
		"a client id that is too long": {frames(t, []byte(ok+"a")), 0, true},
		"a client id with a slash":     {frames(t, []byte(ok[:len(ok)-1]+"/")), 0, true},
		"an empty message":             {append(frames(t, []byte(ok)), head(0)...), 0, true},
		"4 KiB before a session":       {frames(t, []byte(ok), make([]byte, 4<<10)), 1, false},
		"more than that":               {append(frames(t, []byte(ok), []byte("x")), head(4<<10+1)...), 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				conn := r.connect("10.0.0.1")
				defer conn.Close()
				go conn.Write(c.sent) // a part of it may be read by nobody
				require.Len(t, r.messages(), c.heard)
				require.Equal(t, c.ends, !open(t, conn))
			})
		})
	}
}

// A client id is for one connection: who says that of another, heard on the
// network, gets nothing of theirs and takes nothing from them.
func TestS1_WhoSaysAnothersClientIDGetsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ann := r.join("10.0.0.1", true)
		thief := r.connect("10.0.0.2")
		_, err := thief.Write(frames(t, hello(ann.Client())))
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, r.Send(ann.Client(), []byte("for ann")))
		require.False(t, open(t, thief))
		got, err := ann.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, "for ann", string(got))
	})
}

// Nobody holds a connection for longer than 10 s without a session, whatever they send.
func TestS4_StrangersHaveTenSeconds(t *testing.T) {
	ok := hello(newClient())
	for name, drip := range map[string]func(c net.Conn) error{
		"silence":              func(net.Conn) error { return nil },
		"half a hello, slowly": dripping(frames(t, ok)[:20]),
		"messages, slowly": func(c net.Conn) error {
			_, err := c.Write(frames(t, ok))
			for ; err == nil; time.Sleep(3 * time.Second) {
				_, err = c.Write(frames(t, []byte("handshake")))
			}
			return err
		},
		"a long frame, slowly":  dripping(append(frames(t, ok), 0, 0, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)),
		"a hello that is whole": func(c net.Conn) error { _, err := c.Write(frames(t, ok)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				start := time.Now()
				c := r.connect("10.0.0.1")
				done := make(chan struct{})
				go func() {
					defer close(done)
					drip(c)
				}()
				n, err := c.Read(make([]byte, 1))
				require.Zero(t, n)
				require.Equal(t, io.EOF, err)
				require.Equal(t, proofFor, time.Since(start))
				<-done
				require.EqualValues(t, 1, r.Stats().Strangers)
			})
		})
	}
}

// What the camera says to anybody proves nothing of who hears it.
func TestS4_AHintIsNoProof(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		start := time.Now()
		c := r.join("10.0.0.1", false)
		require.True(t, r.Send(c.Client(), []byte("hint")))
		_, err := c.Receive(t.Context())
		require.NoError(t, err)
		_, err = c.Receive(t.Context())
		require.Equal(t, io.EOF, err)
		require.Equal(t, proofFor, time.Since(start))
	})
}

// dripping sends a byte every 400 ms and goes on with zeros.
func dripping(b []byte) func(net.Conn) error {
	return func(c net.Conn) error {
		for i := 0; ; i++ {
			one := []byte{0}
			if i < len(b) {
				one[0] = b[i]
			}
			if _, err := c.Write(one); err != nil {
				return err
			}
			time.Sleep(400 * time.Millisecond)
		}
	}
}

func TestR6_WhoSaysNothingForFiveMinutesIsLetGo(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		quiet, busy := r.join("10.0.0.1", true), r.join("10.0.0.1", true)
		for range 7 {
			time.Sleep(time.Minute)
			require.NoError(t, busy.Send(t.Context(), []byte("x")))
		}
		require.False(t, r.Send(quiet.Client(), proof))
		_, err := quiet.Receive(t.Context())
		require.Equal(t, io.EOF, err)
		<-quiet.Done()
		require.True(t, r.Send(busy.Client(), proof))
		_, err = busy.Receive(t.Context())
		require.NoError(t, err)
		// A frame that has begun must go on.
		_, err = busy.raw.Write([]byte{0, 0, 1, 0, 7})
		require.NoError(t, err)
		start := time.Now()
		_, err = busy.Receive(t.Context())
		require.Equal(t, io.EOF, err)
		require.Equal(t, bodyFor, time.Since(start))
	})
}

// One host that opens connections without end takes its own, not those of others.
func TestR6_AHostThatOpensManyTakesAwayItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var members, others []*Conn
		for i := range 4 {
			members = append(members, r.join("10.0.0.1", true))
			others = append(others, r.join(fmt.Sprintf("10.0.0.%d", 10+i), false))
		}
		for i := range 100 { // IPv6 addresses of one network count as one host
			r.connect(fmt.Sprintf("fd00::%x", i+1))
		}
		require.Equal(t, maxConns, r.Stats().Connections)
		for _, c := range append(members, others...) {
			require.True(t, r.Send(c.Client(), proof))
			_, err := c.Receive(t.Context())
			require.NoError(t, err)
		}
	})
}

// Strangers that send all that they may, again and again, cost 50 messages a
// second, and who is a member gets in meanwhile.
func TestR6_AFloodOfStrangersIsBoundedAndKeepsNobodyOut(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		for range 40 {
			flood.Go(func() {
				for ctx.Err() == nil {
					near, far := net.Pipe()
					r.l.in <- from{far, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 66), Port: 1}}
					c := newConn(near)
					c.Send(ctx, hello(c.client))
					for c.Send(ctx, []byte("handshake")) == nil {
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		time.Sleep(10 * time.Second)
		start, before := time.Now(), len(r.messages())
		ann := r.join("10.0.0.1", false)
		require.NoError(t, ann.Send(t.Context(), []byte("ann's")))
		for !slices.ContainsFunc(r.messages(), func(m Message) bool { return m.Client == ann.Client() }) {
			time.Sleep(10 * time.Millisecond)
		}
		require.LessOrEqual(t, time.Since(start), time.Second)
		time.Sleep(10*time.Second - time.Since(start))
		require.LessOrEqual(t, len(r.messages())-before, 10*earlyRate+1)
	})
}

// Where all are members, the one longest silent gives way.
func TestR6_TheOneLongestSilentMakesRoom(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var all []*Conn
		for range maxConns {
			all = append(all, r.join("10.0.0.1", true))
			time.Sleep(time.Second)
		}
		require.NoError(t, all[0].Send(t.Context(), []byte("x")))
		synctest.Wait()
		r.join("10.0.0.2", false)
		for i, c := range all {
			require.Equal(t, i != 1, r.Send(c.Client(), []byte("y")), i)
		}
	})
}

// Who does not read is dropped, after 10 s or 2 MiB, and harms nobody else.
func TestR6_SlowReadersAreDropped(t *testing.T) {
	t.Run("time", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			slow, quick := r.join("10.0.0.1", true), r.join("10.0.0.1", true)
			require.True(t, r.Send(slow.Client(), []byte("never read")))
			time.Sleep(writeFor + time.Millisecond)
			synctest.Wait()
			require.EqualValues(t, 1, r.Stats().Slow)
			require.False(t, r.Send(slow.Client(), []byte("x")))
			require.True(t, r.Send(quick.Client(), []byte("x")))
			_, err := quick.Receive(t.Context())
			require.NoError(t, err)
		})
	})
	t.Run("bytes", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			slow, quick := r.join("10.0.0.1", true), r.join("10.0.0.1", true)
			part := make([]byte, 32<<10)
			sent := 0
			for r.Send(slow.Client(), part) {
				sent += len(part)
			}
			require.Less(t, sent, maxQueue)
			require.Greater(t, sent, maxQueue-2*len(part))
			require.EqualValues(t, 1, r.Stats().Slow)
			synctest.Wait()
			require.Zero(t, r.waiting())
			for range 100 { // more than fits, to one that reads
				require.True(t, r.Send(quick.Client(), part))
				got, err := quick.Receive(t.Context())
				require.NoError(t, err)
				require.Len(t, got, len(part))
			}
		})
	})
	t.Run("bytes of all", func(t *testing.T) {
		bubble(t, func(t *testing.T, r *rig) {
			part := make([]byte, 64<<10)
			for range 6 {
				c := r.join("10.0.0.1", true)
				for range 28 {
					if !r.Send(c.Client(), part) {
						break
					}
					require.LessOrEqual(t, r.waiting(), maxQueued)
				}
			}
			require.NotZero(t, r.Stats().Slow)
		})
	})
}

// The end of a context in the middle of a frame loses nothing.
func TestConn_ReceiveGoesOnWhereItStopped(t *testing.T) {
	bubble(t, func(t *testing.T, _ *rig) {
		near, far := net.Pipe()
		c := newConn(near)
		frame := frames(t, []byte("whole"))
		for _, piece := range [][]byte{frame[:2], frame[2:6]} {
			go far.Write(piece)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Receive(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		go far.Write(frame[6:])
		got, err := c.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, "whole", string(got))
		select {
		case <-c.Done():
			t.Fatal("ended")
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Send(ctx, []byte("read by nobody")), context.DeadlineExceeded)
		<-c.Done() // half a frame may have left
		far.Close()
	})
}

// FuzzFrames sends any bytes to the camera: what comes in are the frames behind a
// right hello, none but those within the limits of strangers, and nothing goes out.
func FuzzFrames(f *testing.F) {
	ok := hello(prefix + "aaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add(frames(f, ok))
	f.Add(frames(f, ok, []byte("a"), make([]byte, 4<<10), []byte{0x11}))
	f.Add(append(frames(f, ok, []byte("a")), 0, 0, 16, 1))
	f.Add(append(frames(f, ok), 0, 0, 0, 0))
	f.Add(frames(f, []byte(helloText+"app-1"), []byte("a")))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewServer(Config{Proves: proves})
		near, far := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var got []Message
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for {
				select {
				case m := <-s.Inbox():
					got = append(got, m)
				case <-ctx.Done():
					return
				}
			}
		}()
		said := make(chan int)
		go func() {
			n, _ := io.Copy(io.Discard, near)
			said <- int(n)
		}()
		go func() {
			near.Write(b)
			near.Close()
		}()
		s.attend(ctx, s.admit(far))
		cancel()
		<-heard
		require.Zero(t, <-said)
		require.Equal(t, expected(b), got)
		require.Zero(t, s.Stats().Connections)
		require.Empty(t, s.names)
	})
}

// expected reads what a stranger sends, by the description of the protocol.
func expected(b []byte) (out []Message) {
	client := ""
	for len(b) >= 4 && len(out) < 16 {
		n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		limit := 4096
		if client == "" {
			limit = 64
		}
		if n < 1 || n > limit || len(b) < 4+n {
			return out
		}
		msg := b[4 : 4+n]
		b = b[4+n:]
		if client == "" {
			if !bytes.HasPrefix(msg, []byte("iid2/local/1 lan-")) || !IsClient(string(msg[13:])) {
				return nil
			}
			client = string(msg[13:])
			continue
		}
		out = append(out, Message{client, bytes.Clone(msg)})
	}
	return out
}
