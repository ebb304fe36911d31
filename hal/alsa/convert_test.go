package alsa

import (
	"errors"
	"math"
	"testing"

	"iid2secure.nl/camagent/hal"
)

func sine(rate, hz, n int) []int16 {
	s := make([]int16, n)
	for i := range s {
		s[i] = int16(10000 * math.Sin(2*math.Pi*float64(hz)*float64(i)/float64(rate)))
	}
	return s
}

// loudness is the mean amplitude, without the beginning.
func loudness(s []int16) float64 {
	s = s[len(s)/4:]
	sum := 0.0
	for _, v := range s {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(2 * sum / float64(len(s)))
}

func TestConverter(t *testing.T) {
	t.Parallel()
	for _, r := range [][2]int{{48000, 16000}, {44100, 16000}, {96000, 8000}, {22050, 16000}, {8000, 16000}, {16000, 48000}, {8000, 44100}, {16000, 8000}, {16000, 16000}} {
		in, out := r[0], r[1]
		c := newConverter(in, out)
		var got []int16
		src := sine(in, 1000, in)
		for at := 0; at < in; at += in / framesPerSecond { // as it comes
			got = c.push(got, src[at:min(at+in/framesPerSecond, in)])
		}
		if d := len(got) - out; d < -20 || d > 20 {
			t.Errorf("%d to %d Hz: a second has %d samples", in, out, len(got))
		}
		if v := loudness(got); v < 9000 || v > 10500 {
			t.Errorf("%d to %d Hz: 1 kHz comes out at %.0f of 10000", in, out, v)
		}
		if len(c.past) > in/10 {
			t.Errorf("%d to %d Hz: %d samples are kept", in, out, len(c.past))
		}
	}
}

// What the lower rate can't carry is not to come back as another tone.
func TestConverterLeavesOutWhatIsTooHigh(t *testing.T) {
	t.Parallel()
	for _, r := range [][3]int{{48000, 16000, 11000}, {44100, 16000, 12000}, {48000, 8000, 6000}} {
		got := newConverter(r[0], r[1]).push(nil, sine(r[0], r[2], r[0]))
		if v := loudness(got); v > 300 {
			t.Errorf("%d to %d Hz: %d Hz comes out at %.0f of 10000", r[0], r[1], r[2], v)
		}
	}
}

// The low pass rings: full scale is not to come out with the other sign.
func TestLoudSoundIsClipped(t *testing.T) {
	t.Parallel()
	var src []int16
	for i := range 4800 {
		src = append(src, int16(32767-65535*(i/480%2)))
	}
	out := newConverter(48000, 16000).push(nil, src)
	for i, v := range out {
		if at := i % 160; at > 20 && at < 140 && (v > 0) != (i/160%2 == 0) {
			t.Fatalf("sample %d is %d", i, v)
		}
	}
	if clip(40000) != 32767 || clip(-40000) != -32768 || clip(5) != 5 {
		t.Error("clip")
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		channels int
		in       []int16
		want     []int16
	}{{1, []int16{1, 2}, []int16{1, 2}}, {2, []int16{10, 20, -10, -30}, []int16{15, -20}}, {4, []int16{2, 4, 100, 100}, []int16{3}}, {2, []int16{32767, 32767}, []int16{32767}}} {
		got := mono(nil, c.in, c.channels)
		if len(got) != len(c.want) || got[0] != c.want[0] || got[len(got)-1] != c.want[len(got)-1] {
			t.Errorf("%d channels of %v: %v, want %v", c.channels, c.in, got, c.want)
		}
	}
	if got := spread(nil, []int16{1, 2}, 2); len(got) != 4 || got[1] != 1 || got[2] != 2 {
		t.Errorf("%v", got)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		codec hal.Codec
		in    []byte
		want  []int16 // ITU-T G.711, tables 1 and 2
	}{
		{hal.L16, []byte{0x01, 0x02, 0xff, 0xfe}, []int16{0x0102, -2}},
		{hal.PCMU, []byte{0xff, 0x80, 0x00}, []int16{0, 32124, -32124}},
		{hal.PCMA, []byte{0xd5, 0xaa, 0x2a}, []int16{8, 32256, -32256}},
	} {
		got, err := decode(c.codec, c.in)
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("%s: %v, %v", c.codec, got, err)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", c.codec, got, c.want)
			}
		}
	}
	if _, err := decode(hal.Opus, nil); !errors.Is(err, hal.ErrArgument) {
		t.Error(err)
	}
	if b := toL16([]int16{0x0102, -2}); string(b) != "\x01\x02\xff\xfe" {
		t.Errorf("%x", b)
	}
}
