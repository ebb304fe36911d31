package rtsp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

func TestM2_OwnClientGetsEveryFrame(t *testing.T) {
	t.Parallel()
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.play()
			c, desc := r.client(transport, "main")
			got := receive(t, c, desc, 60)
			requireRun(t, r.units(), got, 60)
		})
	}
}

// receive plays, and returns pictures.
func receive(t *testing.T, c *gortsplib.Client, desc *description.Session, pictures int) (got [][]byte) {
	t.Helper()
	return receiveSome(t, c, desc, pictures, func(err error) { t.Error(err) })
}

// receiveSome is the same where pictures may be broken.
func receiveSome(t *testing.T, c *gortsplib.Client, desc *description.Session, pictures int, broken func(error)) (got [][]byte) {
	t.Helper()
	var f *format.H264
	medi := desc.FindFormat(&f)
	dec, err := f.CreateDecoder()
	require.NoError(t, err)
	units := make(chan []byte, 1000)
	c.OnPacketRTP(medi, f, func(p *rtp.Packet) {
		nals, err := dec.Decode(p)
		switch {
		case err == nil:
			var b []byte
			for _, n := range nals {
				if k := n[0] & 31; k == hal.NALSlice || k == hal.NALIDR {
					b = append(b, n...)
				}
			}
			units <- b
		case !errors.Is(err, rtph264.ErrMorePacketsNeeded):
			broken(err)
		}
	})
	_, err = c.Play(nil)
	require.NoError(t, err)
	for len(got) < pictures {
		select {
		case b := <-units:
			got = append(got, b)
		case <-time.After(patience):
			t.Fatal("no picture any more")
		}
	}
	return got
}

// A late viewer begins with the newest key frame held, at once; being old, it is
// asked for anew, once for all viewers.
func TestM2_LateViewerStartsAtTheNewestKeyFrame(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 30 {
		r.push(i, time.Now().Add(time.Duration(i-60)*interval))
	}
	for range 3 {
		c := r.raw()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("4-5")).StatusCode)
		start := time.Now()
		c.write(base.Play, "", nil)
		res, _, err := c.read()
		require.NoError(t, err)
		require.Equal(t, base.StatusOK, res.StatusCode, "the answer comes before media")
		p := c.pictures()
		for i := 25; i < 30; i++ {
			b, err := p.next()
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, pictureBytes(r.units()[i])), "picture %d", i)
			if i == 25 {
				require.Less(t, time.Since(start), time.Second, "PLAY to first picture")
				t.Logf("PLAY to first key frame: %v", time.Since(start))
			}
		}
	}
	require.Equal(t, "main", <-r.asked)
	require.Empty(t, r.asked, "asked more than once a second")
}

func TestM2_FreshKeyFrameIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	c := r.raw()
	c.play()
	_, err := c.pictures().next()
	require.NoError(t, err)
	require.Empty(t, r.asked)
}

// R1: one that reads nothing is dropped, and nobody else notices.
func TestR1_ViewerThatReadsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	r.play()
	stuck := r.raw()
	require.NoError(t, stuck.conn.SetReadBuffer(4096))
	stuck.play()
	good := r.raw()
	good.play()
	p := good.pictures()
	var got [][]byte
	for r.Stats().Timeouts == 0 || len(got) < 50 {
		b, err := p.next()
		require.NoError(t, err)
		got = append(got, b)
	}
	requireRun(t, r.units(), got, 50)
	eventually(t, "the other one's cursor", func() bool { return r.stream.Ring.Stats().Readers == 1 && r.Viewers() == 1 })
	require.NotZero(t, r.log.FilterMessageSnippet("viewer left").Len())
}

// R1: one that is too slow loses whole GOPs and comes back at a key frame.
func TestR1_SlowViewerSkipsToAKeyFrame(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	old := time.Now().Add(-time.Minute) // so that none waits for MaxLag to pass
	push := func(from, to int) {
		for i := from; i < to; i++ {
			r.push(i, old.Add(time.Duration(i)*interval))
		}
	}
	push(0, 25)
	slow := r.raw()
	require.NoError(t, slow.conn.SetReadBuffer(64<<10))
	slow.play()
	push(25, 100) // more than the connection holds, and not yet a picture twice
	p := slow.pictures()
	last, skips := -1, 0
	for last < 99 {
		b, err := p.next()
		require.NoError(t, err)
		at := r.indexOf(b, last)
		require.GreaterOrEqual(t, at, 0, "a picture that was never pushed, or an old one")
		if at != last+1 {
			require.Zero(t, at%25, "resumed at picture %d, which is no key frame", at)
			skips++
		}
		last = at
	}
	require.NotZero(t, skips)
	require.NotZero(t, r.Stats().Skips)
	require.NotZero(t, r.log.FilterMessageSnippet("too slow").Len())
}

// After the answer to TEARDOWN nothing more comes, and the connection can be
// used for another session.
func TestM2_ConnectionIsGoodAfterTeardown(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.flood()
	c := r.raw()
	for range 20 {
		c.session, c.sender = "", nil
		c.play()
		for p, i := c.pictures(), 0; i < 3; i++ {
			_, err := p.next()
			require.NoError(t, err)
		}
		require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
		c.session = ""
		c.write(base.Options, "", nil)
		res, f, err := c.read()
		require.NoError(t, err)
		require.Nil(t, f, "media after the answer to TEARDOWN")
		require.Equal(t, base.StatusOK, res.StatusCode)
		eventually(t, "the cursor given back", func() bool { return r.stream.Ring.Stats().Readers == 0 })
	}
}

// Answers and frames share a connection, each whole: rawClient.read fails on
// any byte that is out of place.
func TestM2_AnswersNeverCutIntoMedia(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.play()
	c := r.raw()
	c.play()
	p := c.pictures()
	go func() {
		for range 300 {
			c.write(base.GetParameter, "", nil)
		}
	}()
	answers, units := 0, 0
	for answers < 300 || units < 50 {
		res, f, err := c.read()
		require.NoError(t, err)
		if res != nil {
			require.Equal(t, base.StatusOK, res.StatusCode)
			answers++
		} else if f.Channel == 0 {
			var pkt rtp.Packet
			require.NoError(t, pkt.Unmarshal(f.Payload))
			require.True(t, !p.seen || pkt.SequenceNumber == p.seq)
			p.seen, p.seq = true, pkt.SequenceNumber+1
			if pkt.Marker {
				units++
			}
		}
	}
}

// R10: whatever way viewers go, they leave nothing. Not parallel: it counts the
// goroutines of the process.
func TestR10_TwoHundredViewersComeAndGo(t *testing.T) {
	r := newRig(t, nil)
	r.play()
	before := runtime.NumGoroutine()
	for range 5 {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() { comeAndGo(t, r, i) })
			if i%10 == 9 {
				all.Wait()
			}
		}
		eventually(t, "all gone", func() bool {
			s := r.Stats()
			return s.Viewers == 0 && s.Conns == 0 && r.stream.Ring.Stats().Readers == 0
		})
	}
	eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() < before+10 })
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Zero(t, r.Server.offers["main"].users)
	require.Nil(t, r.Server.offers["main"].signal)
}

func comeAndGo(t *testing.T, r *rig, i int) {
	c := r.raw()
	defer c.conn.Close()
	switch i % 4 {
	case 0: // politely
		c.play()
		_, err := c.pictures().next()
		require.NoError(t, err)
		require.Equal(t, base.StatusOK, c.do(base.Teardown, "", nil).StatusCode)
	case 1: // vanishes in the middle of media
		c.play()
		require.NoError(t, c.conn.SetLinger(0))
	case 2: // vanishes between SETUP and PLAY
		c.login()
		c.do(base.Setup, "/trackID=0", interleaved("0-1"))
	case 3: // does not read the answer to PLAY
		c.login()
		c.do(base.Setup, "/trackID=0", interleaved("0-1"))
		c.write(base.Play, "", nil)
	}
}

// What viewers were told of the sound holds for them; when it ends or changes,
// they get none.
func TestP2_SoundEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	f := hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}
	r.stream.SetAudio(&f)
	r.push(0, time.Now())
	c := r.raw()
	require.Equal(t, base.StatusOK, c.login().StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=1", interleaved("2-3")).StatusCode)
	require.Equal(t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	sound := func(n int) { r.stream.PushAudio(hal.AudioFrame{Data: tone(n), Samples: 160, Time: time.Now()}) }
	sound(1)
	requireSound(t, c, tone(1))
	r.stream.SetAudio(nil)
	sound(2)
	r.push(1, time.Now())
	requireNoSound(t, c)
	same := f
	r.stream.SetAudio(&same)
	sound(3)
	requireSound(t, c, tone(3))
	r.stream.SetAudio(&hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1})
	sound(4)
	r.push(2, time.Now())
	requireNoSound(t, c)
}

// requireNoSound reads up to the end of the next picture.
func requireNoSound(t *testing.T, c *rawClient) {
	t.Helper()
	for {
		_, f, err := c.read()
		require.NoError(t, err)
		require.NotEqual(t, 2, f.Channel, "sound")
		if f.Channel == 0 && f.Payload[1]&0x80 != 0 {
			return
		}
	}
}

func requireSound(t *testing.T, c *rawClient, want []byte) {
	t.Helper()
	for {
		_, f, err := c.read()
		require.NoError(t, err)
		if f != nil && f.Channel == 2 {
			require.Equal(t, want, f.Payload[12:])
			return
		}
	}
}

func TestM2_SubStreamIsItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	c := r.raw()
	c.address = r.plainURL("sub")
	sub := r.streams["sub"]
	u := pictures(t)[25]
	u.Time = time.Now()
	sub.PushVideo(u)
	c.play()
	b, err := c.pictures().next()
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, pictureBytes(u.Data)))
	require.Zero(t, r.stream.Ring.Stats().Readers)
}

// The supervisor runs a server again after a failure.
func TestR5_RunsAgainAfterItEnded(t *testing.T) {
	t.Parallel()
	stream := media.NewStream("main", 1<<20)
	s := New(Config{Address: "127.0.0.1:0", UDP: true}, []*media.Stream{stream}, nil, nil)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		eventually(t, "an answer", func() bool {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				return false
			}
			defer c.Close()
			_, _ = io.WriteString(c, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			n, err := c.Read(make([]byte, 100))
			return err == nil && n > 0
		})
		cancel()
		require.NoError(t, <-done)
	}
}
