package rtsp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// collected is what a gather handed over, taken apart.
type collected struct {
	pieces  int
	packets []*rtp.Packet
}

func (c *collected) send(t testing.TB) func([]byte) error {
	return func(b []byte) error {
		c.pieces++
		require.LessOrEqual(t, len(b), chunk)
		for len(b) > 0 {
			n := int(binary.BigEndian.Uint16(b[2:]))
			require.Equal(t, byte('$'), b[0])
			p := &rtp.Packet{}
			require.NoError(t, p.Unmarshal(bytes.Clone(b[4:4+n])))
			require.LessOrEqual(t, len(p.Payload), maxPayload)
			c.packets = append(c.packets, p)
			b = b[4+n:]
		}
		return nil
	}
}

func packed(t testing.TB, f func(g *gather)) *collected {
	t.Helper()
	c := &collected{}
	g := gather{buf: make([]byte, 0, chunk), send: c.send(t)}
	f(&g)
	g.flush()
	require.NoError(t, g.err)
	return c
}

func avc(nals ...[]byte) (b []byte) {
	for _, n := range nals {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(n))), n...)
	}
	return b
}

// unpacked puts an access unit back together with gortsplib's decoder and checks
// numbering, timestamp and marker.
func unpacked(t testing.TB, c *collected, ts uint32, firstSeq uint16) [][]byte {
	t.Helper()
	d := &rtph264.Decoder{PacketizationMode: 1}
	require.NoError(t, d.Init())
	for i, p := range c.packets {
		require.Equal(t, firstSeq+uint16(i), p.SequenceNumber)
		require.Equal(t, ts, p.Timestamp)
		require.Equal(t, i == len(c.packets)-1, p.Marker, "packet %d of %d", i, len(c.packets))
		nals, err := d.Decode(p)
		if p.Marker {
			require.NoError(t, err)
			return nals
		}
		require.ErrorIs(t, err, rtph264.ErrMorePacketsNeeded)
	}
	return nil
}

func TestM2_LargeFramesGoInPiecesOfWholePackets(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte{0x65, 1, 2, 3}, 50_000)
	tr := track{seq: 65530, ssrc: 7, payload: videoType}
	c := packed(t, func(g *gather) { tr.video(g, avc([]byte{0x67, 1}, []byte{0x68, 2}, large), 99) })
	require.Equal(t, [][]byte{{0x67, 1}, {0x68, 2}, large}, unpacked(t, c, 99, 65530))
	require.Equal(t, 4, c.pieces)
	require.EqualValues(t, len(c.packets), tr.packets)
}

func TestM2_FrameThatFitsIsOneWrite(t *testing.T) {
	t.Parallel()
	var tr track
	c := packed(t, func(g *gather) { tr.video(g, avc(bytes.Repeat([]byte{0x41}, 60_000)), 1) })
	require.Equal(t, 1, c.pieces)
}

func TestR6_ErrorOfTheSinkSticks(t *testing.T) {
	t.Parallel()
	failed, calls := errors.New("gone"), 0
	g := gather{buf: make([]byte, 0, chunk), send: func([]byte) error { calls++; return failed }}
	var tr track
	tr.video(&g, avc(bytes.Repeat([]byte{0x65}, 1<<20)), 1)
	g.flush()
	require.ErrorIs(t, g.err, failed)
	require.Equal(t, 1, calls)
}

// S5: whatever the board hands over, what a viewer puts together is the same.
func FuzzVideoPackets(f *testing.F) {
	f.Add(avc([]byte{0x67, 1}, []byte{0x68, 2}, bytes.Repeat([]byte{0x65}, 3000)), uint16(0))
	f.Add(avc([]byte{0x41}), uint16(65535))
	f.Add(avc([]byte{0x7c, 0x85, 1}, []byte{0x78, 0, 1, 0x41}), uint16(9)) // types that are RTP's own
	f.Add(avc(bytes.Repeat([]byte{0x65}, maxPayload), bytes.Repeat([]byte{0x65}, maxPayload+1)), uint16(3))
	f.Add([]byte{0, 0, 0, 9, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, seq uint16) {
		var want [][]byte
		for n := range hal.SplitAVC(data) {
			if bytes.Contains(n, []byte{0, 0, 1}) || n[0]&0x80 != 0 {
				return // no NAL unit has that, and the decoder makes something else of it
			}
			if k := n[0] & 31; k > 0 && k < 24 {
				want = append(want, n)
			}
		}
		if len(want) > 20 {
			return // the decoder takes no more
		}
		tr := track{seq: seq}
		c := packed(t, func(g *gather) { tr.video(g, data, 5) })
		got := unpacked(t, c, 5, seq)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, bytes.Equal(want[i], got[i]))
		}
	})
}

func TestM2_SoundOfEveryKindIsUnpackedAgain(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 500)
	config := []byte{0x12, 0x10} // AAC-LC, 44.1 kHz, stereo
	for _, c := range []struct {
		sound hal.AudioFormat
		data  []byte
		kind  uint8
		map_  string
	}{
		{hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1}, data, 0, "PCMU/8000"},
		{hal.AudioFormat{Codec: hal.PCMA, Rate: 8000, Channels: 1}, data, 8, "PCMA/8000"},
		{hal.AudioFormat{Codec: hal.PCMA, Rate: 16000, Channels: 2}, data, soundType, "PCMA/16000/2"},
		{hal.AudioFormat{Codec: hal.L16, Rate: 16000, Channels: 1}, data, soundType, "L16/16000/1"},
		{hal.AudioFormat{Codec: hal.L16, Rate: 48000, Channels: 2}, data, soundType, "L16/48000/2"},
		{hal.AudioFormat{Codec: hal.Opus, Rate: 16000, Channels: 1}, data[:300], soundType, "opus/48000/2"},
		{hal.AudioFormat{Codec: hal.AAC, Rate: 44100, Channels: 2, Config: config}, data, soundType, "mpeg4-generic/44100/2"},
		{hal.AudioFormat{Codec: hal.AAC, Rate: 44100, Channels: 2, Config: config}, data[:300], soundType, "mpeg4-generic/44100/2"},
	} {
		f, err := soundFormat(&c.sound)
		require.NoError(t, err)
		require.Equal(t, c.map_, f.RTPMap())
		require.Equal(t, c.kind, f.PayloadType())
		tr := track{payload: c.kind}
		out := packed(t, func(g *gather) { tr.audio(g, &c.sound, &media.Sample{Data: c.data}, 1000, true) })
		require.Equal(t, c.data, soundUnpacked(t, f, out), "%v", c.sound)
	}
}

func soundUnpacked(t *testing.T, f format.Format, c *collected) []byte {
	t.Helper()
	a, aac := f.(*format.MPEG4Audio)
	if aac && len(c.packets) == 1 {
		d, err := a.CreateDecoder()
		require.NoError(t, err)
		frames, err := d.Decode(c.packets[0])
		require.NoError(t, err)
		require.Len(t, frames, 1)
		return frames[0]
	}
	var b []byte
	for i, p := range c.packets {
		if aac { // fragments, which gortsplib takes for whole frames: RFC 3640, 3.2.1.1 and 3.2.3.1
			require.Equal(t, []byte{0, 16}, p.Payload[:2])
			require.EqualValues(t, 4000, binary.BigEndian.Uint16(p.Payload[2:])>>3)
			require.EqualValues(t, 1000, p.Timestamp)
			require.Equal(t, i == len(c.packets)-1, p.Marker)
			b = append(b, p.Payload[4:]...)
			continue
		}
		require.Equal(t, i == 0, p.Marker, "the marker begins what follows a pause")
		require.EqualValues(t, 1000, int(p.Timestamp)-len(b)/sampleSize(f))
		b = append(b, p.Payload...)
	}
	return b
}

func sampleSize(f format.Format) int {
	switch f := f.(type) {
	case *format.LPCM:
		return 2 * f.ChannelCount
	case *format.G711:
		return f.ChannelCount
	}
	return 1
}

func TestS5_OddSoundIsLeftOut(t *testing.T) {
	t.Parallel()
	for codec, data := range map[hal.Codec][]byte{
		hal.AAC: make([]byte, 1<<13), hal.Opus: make([]byte, chunk), hal.L16: {1, 2, 3}, hal.PCMU: nil, "mp3": {1},
	} {
		var tr track
		c := packed(t, func(g *gather) {
			tr.audio(g, &hal.AudioFormat{Codec: codec, Channels: 2}, &media.Sample{Data: data}, 0, false)
		})
		require.Empty(t, c.packets, codec)
	}
	_, err := soundFormat(&hal.AudioFormat{Codec: hal.AAC})
	require.ErrorContains(t, err, "AudioSpecificConfig")
	_, err = soundFormat(&hal.AudioFormat{Codec: "mp3"})
	require.ErrorContains(t, err, `"mp3" is none of`)
}

// RTCP as a library writes it (RFC 3550, 6.4.1 and 6.5), without allocating.
func TestM2_ReportIsRTCP(t *testing.T) {
	tr := track{channel: 6, ssrc: 7, packets: 8, octets: 9}
	wall := time.Unix(1_700_000_000, 123_456_789)
	for n := range 40 {
		name := strings.Repeat("x", n)
		want, err := rtcp.Marshal([]rtcp.Packet{
			&rtcp.SenderReport{SSRC: 7, NTPTime: ntpTime(wall), RTPTime: 55, PacketCount: 8, OctetCount: 9},
			&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
				Source: 7, Items: []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: name}},
			}}},
		})
		require.NoError(t, err)
		g := gather{buf: bytes.Repeat([]byte{0xff}, 1000)[:0]}
		require.Zero(t, testing.AllocsPerRun(1, func() { g.buf = g.buf[:0]; tr.report(&g, 55, wall, name) }))
		require.Equal(t, append([]byte{'$', 7, 0, byte(len(want))}, want...), g.buf)
	}
}

func TestM2_NTPTimeHasABinaryFraction(t *testing.T) {
	t.Parallel()
	v := ntpTime(time.Unix(1, 500_000_000))
	require.Equal(t, uint64(2208988801), v>>32)
	require.Equal(t, uint64(1<<31), v&0xffffffff)
	now := time.Now()
	require.WithinDuration(t, now, fromNTP(ntpTime(now)), time.Microsecond)
}

func TestM2_TicksAreTheNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		d    time.Duration
		rate int64
		want int64
	}{
		{40 * time.Millisecond, 90000, 3600}, {-40 * time.Millisecond, 90000, -3600}, {time.Second / 30, 90000, 3000},
		{100 * 24 * time.Hour, 90000, 100 * 24 * 3600 * 90000}, {6 * time.Microsecond, 90000, 1}, {-6 * time.Microsecond, 90000, -1},
	} {
		require.Equal(t, c.want, media.Ticks(c.d, c.rate), "%v", c)
	}
}

func TestM2_PicturesNeverShareATimestamp(t *testing.T) {
	t.Parallel()
	tr := track{rate: 90000, base: 1 << 31}
	first := tr.pictureStamp(90000)
	tr.started, tr.last = true, first
	require.Equal(t, first+1, tr.pictureStamp(90000))
	tr.last = first + 1
	require.Equal(t, first+2, tr.pictureStamp(90000), "a third one of the same moment")
	require.Equal(t, first+2, tr.pictureStamp(89999))
	tr.last = first
	require.Equal(t, first-180000, tr.pictureStamp(-90000), "a clock that was put back")
	require.Equal(t, first+3600, tr.pictureStamp(93600))
}

func TestM2_SoundIsEvenAndFollowsCaptureTimes(t *testing.T) {
	t.Parallel()
	var c soundClock
	at, anchored := c.stamp(-40, 160, 8000)
	require.True(t, anchored)
	require.EqualValues(t, -40, at)
	for i := int64(1); i < 50; i++ { // capture times jitter
		at, anchored = c.stamp(8*(20*i-5+i%3*8), 160, 8000)
		require.False(t, anchored)
		require.Equal(t, 160*i-40, at)
	}
	at, anchored = c.stamp(16000, 160, 8000)
	require.True(t, anchored, "after a gap")
	require.EqualValues(t, 16000, at)
}

// The reports of one round use one reading of the wall clock.
func TestM2_ClockStepsHitPictureAndSoundTogether(t *testing.T) {
	t.Parallel()
	var l timeline
	zero := time.Now()
	l.advance(zero, zero, zero)
	require.Equal(t, 1, l.round)
	at := zero.Add(reportEvery / 2)
	before := l.wallTime(reportEvery / 2)
	l.advance(zero, at, at)
	require.Equal(t, 1, l.round)
	require.Equal(t, before, l.wallTime(reportEvery/2))
	l.advance(zero, zero.Add(reportEvery), zero.Add(reportEvery))
	require.Equal(t, 2, l.round)
	require.WithinDuration(t, zero, l.wallTime(0), time.Microsecond)
}

func TestM2_BurstsOverUDPAreSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		start := time.Now()
		for sent := 0; sent < udpBurst-1400; sent += 1400 {
			require.NoError(t, p.wait(t.Context(), 1400))
		}
		require.Zero(t, time.Since(start), "what fits goes at once")
		for sent := 0; sent < udpRate; sent += 1 << 10 {
			require.NoError(t, p.wait(t.Context(), 1<<10))
		}
		require.InDelta(t, 1, time.Since(start).Seconds(), 0.01)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, p.wait(ctx, udpBurst), context.Canceled)
	})
}

// One frame of a usual size, from the ring's sample to the bytes of a write,
// allocates nothing.
func TestR6_PackingAllocatesNothing(t *testing.T) {
	var tr track
	g := gather{buf: make([]byte, 0, chunk), send: func([]byte) error { return nil }}
	data := avc(bytes.Repeat([]byte{0x41}, 10_000))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		tr.video(&g, data, 1)
		g.flush()
	}))
}

func BenchmarkPack10KB(b *testing.B) {
	var tr track
	g := gather{buf: make([]byte, 0, chunk), send: func([]byte) error { return nil }}
	data := avc(bytes.Repeat([]byte{0x41}, 10_000))
	b.ReportAllocs()
	for b.Loop() {
		tr.video(&g, data, 1)
		g.flush()
	}
}
