package rtsp

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/media/talk"
)

// talkRig is a rig with the simulated speaker behind it.
type talkRig struct {
	*rig
	board  *sim.Board
	desk   *talk.Desk
	forbid atomic.Bool
	asked  atomic.Int32 // times that MayTalk was
}

// The lease of the tests: short, that they are.
const lease = 700 * time.Millisecond

func newTalkRig(t testing.TB, change func(*Config)) *talkRig {
	t.Helper()
	r := &talkRig{board: sim.New(sim.Config{})}
	camera := hal.NewCamera(r.board)
	r.desk = talk.New(camera, talk.Config{Lease: lease})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.desk.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, camera.Close())
	})
	r.rig = newRig(t, func(c *Config) {
		c.Talk = r.desk
		c.MayTalk = func(u string) bool {
			r.asked.Add(1)
			return u == user && !r.forbid.Load()
		}
		if change != nil {
			change(c)
		}
	})
	return r
}

const (
	hertz     = 400.
	amplitude = 12000.
)

// voice makes packets of a tone, 20 ms each.
type voice struct {
	n    int
	ssrc uint32
	law  hal.Codec
}

func (v *voice) next() *rtp.Packet {
	pcm := make([]byte, 0, 320)
	for i := range 160 {
		s := int16(amplitude * math.Sin(2*math.Pi*hertz*float64(160*v.n+i)/8000))
		pcm = binary.BigEndian.AppendUint16(pcm, uint16(s))
	}
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(65500 + v.n), Timestamp: uint32(160 * v.n), SSRC: v.ssrc}}
	if v.law == hal.PCMA {
		p.PayloadType = 8
		p.Payload, _ = g711.Alaw(pcm).Marshal()
	} else {
		p.Payload, _ = g711.Mulaw(pcm).Marshal()
	}
	v.n++
	return p
}

// speak sends n packets at their pace.
func (v *voice) speak(t testing.TB, n int, send func(*rtp.Packet) error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range n {
		require.NoError(t, send(v.next()))
		<-tick.C
	}
}

// heard is what the speaker has played since a time, at 16 kHz, as one line,
// and for how long it had nothing in between.
func (r *talkRig) heard(since time.Time) (pcm []int16, gaps time.Duration) {
	var end time.Time
	for _, h := range r.board.Heard() {
		if h.Time.Before(since) {
			continue
		}
		require.Equal(r.t, hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 1}, h.Format)
		if gap := h.Time.Sub(end); !end.IsZero() && gap > time.Millisecond {
			gaps += gap
			pcm = append(pcm, make([]int16, gap*16000/time.Second)...)
		}
		for i := 0; i+1 < len(h.Data); i += 2 {
			pcm = append(pcm, int16(binary.BigEndian.Uint16(h.Data[i:])))
		}
		end = h.Time.Add(time.Duration(len(h.Data)/2) * time.Second / 16000)
	}
	return sounding(pcm), gaps
}

func sounding(pcm []int16) []int16 {
	loud := func(s int16) bool { return s > 500 || s < -500 }
	from := slices.IndexFunc(pcm, loud)
	if from < 0 {
		return nil
	}
	to := len(pcm)
	for !loud(pcm[to-1]) {
		to--
	}
	return pcm[from:to]
}

// isTone tells whether 20 ms are the voice's tone, as loud as it was.
func isTone(pcm []int16) bool {
	var a, b, all float64
	for i, s := range pcm {
		sin, cos := math.Sincos(2 * math.Pi * hertz * float64(i) / 16000)
		a += float64(s) * sin
		b += float64(s) * cos
		all += float64(s) * float64(s)
	}
	n := float64(len(pcm))
	loud := math.Sqrt(2*all/n) / amplitude
	return 2*(a*a+b*b)/(n*all+1) > 0.9 && loud > 0.9 && loud < 1.1
}

// requireVoice checks that what speak says, n packets of the tone, is played
// whole, but for the time that the machine stands still, being busy with other
// tests. In that case it may try again.
func (r *talkRig) requireVoice(n int, speak func()) {
	r.t.Helper()
	for range 5 {
		began, still := time.Now(), stillness()
		speak()
		r.requireFloorFree()
		stood := still()
		pcm, gaps := r.heard(began)
		frames, good := len(pcm)/320, 0
		for i := 0; i+320 <= len(pcm); i += 320 {
			if isTone(pcm[i : i+320]) {
				good++
			}
		}
		excuse := 4 * int(stood/(20*time.Millisecond)) // each one disturbs sender and receiver, and what follows
		if good >= max(n*9/10-excuse, n/4) && frames < n+25+excuse && gaps < time.Duration(n)*time.Millisecond+4*stood {
			return
		}
		r.t.Logf("of %d frames said %d of %d played are the tone, %v without any; the machine stood still for %v", n, good, frames, gaps, stood)
	}
	r.t.Fatal("what was said was not played")
}

// stillness measures for how long the machine does not run who has something to do.
func stillness() (end func() time.Duration) {
	stop, sum := make(chan struct{}), make(chan time.Duration)
	go func() {
		var stood time.Duration
		tick := time.NewTimer(0)
		defer tick.Stop()
		for {
			due := time.Now().Add(10 * time.Millisecond)
			tick.Reset(10 * time.Millisecond)
			select {
			case <-tick.C:
				stood += max(time.Since(due)-10*time.Millisecond, 0)
			case <-stop:
				sum <- stood
				return
			}
		}
	}()
	return func() time.Duration { close(stop); return <-sum }
}

// requireFloorFree waits until nobody talks and all that was said is played.
func (r *talkRig) requireFloorFree() {
	r.t.Helper()
	eventually(r.t, "the floor is free", func() bool { _, ok := r.desk.Talking(); return !ok && !r.board.State().Talking })
}

// talker is gortsplib's client with a back channel that plays.
func (r *talkRig) talker(transport gortsplib.Transport, address string) (*gortsplib.Client, func(*rtp.Packet) error) {
	r.t.Helper()
	u, err := base.ParseURL(address)
	require.NoError(r.t, err)
	c := &gortsplib.Client{Transport: &transport, RequestBackChannels: true, ReadTimeout: patience}
	require.NoError(r.t, c.Start(u.Scheme, u.Host))
	r.t.Cleanup(c.Close)
	desc, _, err := c.Describe(u)
	require.NoError(r.t, err)
	i := slices.IndexFunc(desc.Medias, func(m *description.Media) bool { return m.IsBackChannel })
	require.GreaterOrEqual(r.t, i, 0, "a back channel")
	require.NoError(r.t, c.SetupAll(desc.BaseURL, desc.Medias))
	_, err = c.Play(nil)
	require.NoError(r.t, err)
	return c, func(p *rtp.Packet) error { return c.WritePacketRTP(desc.Medias[i], p) }
}

var withBackchannel = base.Header{"Require": base.HeaderValue{backchannel}}

func requiring(h base.Header) base.Header {
	h["Require"] = base.HeaderValue{backchannel}
	return h
}

// talk makes a session of the back channel alone, over TCP.
func (c *rawClient) talk() func(*rtp.Packet) error {
	c.t.Helper()
	require.Equal(c.t, base.StatusOK, c.login().StatusCode)
	res := c.do(base.Setup, "/trackID=2", requiring(interleaved("4-5")))
	require.Equal(c.t, base.StatusOK, res.StatusCode)
	require.Equal(c.t, base.StatusOK, c.do(base.Play, "", requiring(base.Header{})).StatusCode)
	return c.say(4)
}

// say writes packets on a channel.
func (c *rawClient) say(channel byte) func(*rtp.Packet) error {
	return func(p *rtp.Packet) error {
		b, err := p.Marshal()
		if err != nil {
			return err
		}
		_, err = c.out.Write(append([]byte{'$', channel, byte(len(b) >> 8), byte(len(b))}, b...))
		return err
	}
}

// talkUDP makes a session of the back channel alone, over UDP; the socket is bound
// to the port that the client names, and sends to the server's.
func (c *rawClient) talkUDP(header func(ports string) base.Header) (*net.UDPConn, *net.UDPAddr) {
	c.t.Helper()
	require.Equal(c.t, base.StatusOK, c.login().StatusCode)
	pair, err := listenPair(net.IPv4(127, 0, 0, 1), 0)
	require.NoError(c.t, err)
	c.t.Cleanup(pair.close)
	res := c.do(base.Setup, "/trackID=2", header(udpPorts(pair)))
	require.Equal(c.t, base.StatusOK, res.StatusCode)
	require.Equal(c.t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
	return pair.rtp, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: serverPort(c.t, res)}
}
