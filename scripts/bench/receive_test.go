package main

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// smallFilm has pictures of one slice each; every second one is too long for
// one packet.
func smallFilm(t *testing.T, n int) *film {
	f := &film{numbers: map[uint32]int{}}
	for i := range n {
		slice := make([]byte, 100+i%2*3000)
		for k := range slice {
			slice[k] = byte(i + k%200 + 1)
		}
		slice[0] = 0x61 // a slice; 0x65: of a key frame
		if i%5 == 0 {
			slice[0] = 0x65
		}
		slice[1] = 0x80 | byte(i)
		unit := append([]byte{0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1}, slice...)
		if i%5 == 0 {
			unit = append([]byte{0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 4, 0, 0, 0, 1}, slice...)
		}
		require.NoError(t, f.add(unit))
	}
	return f
}

// sender packs pictures of a film as servers do.
type sender struct {
	f   *film
	seq uint16
}

func (s *sender) packet(marker bool, number int, payload ...byte) []byte {
	b := []byte{'$', 0}
	b = binary.BigEndian.AppendUint16(b, uint16(12+len(payload)))
	kind := byte(96)
	if marker {
		kind |= 0x80
	}
	b = append(b, 0x80, kind)
	b = binary.BigEndian.AppendUint16(b, s.seq)
	b = binary.BigEndian.AppendUint32(b, uint32(number)*3600)
	s.seq++
	return append(append(b, 1, 2, 3, 4), payload...)
}

// picture is in one packet if it fits, or in pieces.
func (s *sender) picture(number int) (packets [][]byte) {
	unit := s.f.units[number%len(s.f.units)]
	nal := unit[10:]
	if number%5 == 0 {
		nal = unit[24:]
		packets = append(packets, s.packet(false, number, 24, 0, 3, 0x67, 1, 2, 0, 3, 0x68, 3, 4))
	}
	if len(nal) < 1000 {
		return append(packets, s.packet(true, number, nal...))
	}
	for at := 1; at < len(nal); at += 1000 {
		flags := nal[0] & 31
		if at == 1 {
			flags |= 0x80
		}
		end := min(at+1000, len(nal))
		if end == len(nal) {
			flags |= 0x40
		}
		packets = append(packets, s.packet(end == len(nal), number, append([]byte{nal[0]&0xe0 | 28, flags}, nal[at:end]...)...))
	}
	return packets
}

// deliver feeds in small portions, as they may come.
func deliver(t *testing.T, r *receiver, now time.Time, packets ...[]byte) {
	for _, p := range packets {
		for len(p) > 0 {
			n := copy(r.space()[:min(len(p), 700)], p)
			require.NoError(t, r.fed(n, now))
			p = p[n:]
		}
	}
}

func TestEveryFrameIsCountedAndComparedWithTheFilm(t *testing.T) {
	t.Parallel()
	f := smallFilm(t, 20)
	s, r := sender{f: f}, newReceiver(f)
	for n := range 45 {
		deliver(t, r, time.Now(), s.picture(n)...)
	}
	c, newest := r.result()
	require.Equal(t, counts{Frames: 45, Packets: 45 + 9 + 3*22}, c)
	require.Equal(t, 4, newest)
}

func TestWhatIsMissingOrWrongIsCounted(t *testing.T) {
	t.Parallel()
	f := smallFilm(t, 20)
	for name, c := range map[string]struct {
		spoil func(number int, packets [][]byte) [][]byte
		want  counts
	}{
		"a picture": {func(n int, p [][]byte) [][]byte {
			if n == 7 {
				return nil
			}
			return p
		}, counts{Frames: 29, Lost: 1, Gaps: 4}},
		"the last pictures of the film and the first": {func(n int, p [][]byte) [][]byte {
			if n > 17 && n < 22 {
				return nil
			}
			return p
		}, counts{Frames: 26, Lost: 4, Gaps: 1 + 4 + 2 + 4}},
		"a packet": {func(n int, p [][]byte) [][]byte {
			if n == 7 {
				return append(p[:1:1], p[2:]...)
			}
			return p
		}, counts{Frames: 29, Lost: 1, Broken: 1, Gaps: 1}},
		"the end of a picture": {func(n int, p [][]byte) [][]byte {
			if n == 7 {
				return p[:3]
			}
			return p
		}, counts{Frames: 29, Lost: 1, Broken: 1, Gaps: 1}},
		"a byte": {func(n int, p [][]byte) [][]byte {
			if n == 7 {
				p[1][100]++
			}
			return p
		}, counts{Frames: 29, Lost: 1, Broken: 1}},
	} {
		s, r := sender{f: f}, newReceiver(f)
		for n := range 30 {
			deliver(t, r, time.Now(), c.spoil(n, s.picture(n))...)
		}
		got, _ := r.result()
		got.Packets = 0
		require.Equal(t, c.want, got, name)
	}
}

// What comes before the first report has no known latency; a response between
// packets disturbs nothing.
func TestLatencyIsFromTheCaptureThatReportsTell(t *testing.T) {
	t.Parallel()
	f := smallFilm(t, 20)
	s, r := sender{f: f}, newReceiver(f)
	captured := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC) // of picture 0
	deliver(t, r, captured, s.picture(0)...)
	report := []byte{'$', 1, 0, 28, 0x80, 200, 0, 6, 1, 2, 3, 4}
	report = binary.BigEndian.AppendUint32(report, uint32(captured.Unix()-ntpEpoch))
	report = binary.BigEndian.AppendUint32(report, uint32(uint64(captured.Nanosecond())<<32/1e9))
	deliver(t, r, captured, append(report, make([]byte, 12)...))
	deliver(t, r, captured, []byte("RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n$$"))
	for n := 1; n < 4; n++ {
		deliver(t, r, captured.Add(time.Duration(n)*40*time.Millisecond+time.Duration(n)*300*time.Microsecond), s.picture(n)...)
	}
	c, _ := r.result()
	require.Len(t, c.Late, 3)
	for i, us := range c.Late {
		require.InDelta(t, 300*(i+1), us, 1)
	}
	require.Equal(t, 1, r.responses)
}
