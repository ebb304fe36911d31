package pipe

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// split runs a stream through splitter and gatherer in pieces of the given sizes.
func split(stream []byte, size func() int) (list []hal.AccessUnit) {
	s, g := newSplitter(), gatherer{}
	now := time.Unix(1000, 0)
	take := func(u unit, ok bool) bool {
		if ok {
			if au, ok := g.add(u); ok {
				list = append(list, au)
			}
		}
		return ok
	}
	for len(stream) > 0 {
		n := copy(s.space()[:min(size(), len(s.space()))], stream)
		stream = stream[n:]
		now = now.Add(time.Millisecond)
		s.added(n, now)
		for take(s.next()) {
		}
	}
	take(s.flush())
	return list
}

// S5: wherever the reads cut the stream, the same access units come out.
func TestM1_SplitsAnyEncodingAtAnyBorder(t *testing.T) {
	t.Parallel()
	for _, sample := range encoded(t) {
		t.Run(sample.name, func(t *testing.T) {
			t.Parallel()
			whole(t, split(sample.bytes, func() int { return 1 }), sample.units)
			whole(t, split(sample.bytes, func() int { return 1 << 20 }), sample.units)
			for seed := range uint64(30) {
				r := rand.New(rand.NewPCG(seed, 1))
				whole(t, split(sample.bytes, func() int { return 1 + r.IntN(1<<r.IntN(15)) }), sample.units)
			}
		})
	}
}

// start codes of 3 and of 4 bytes, zeros before and after.
func TestM1_StartCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"\x00\x00\x01", "\x00\x00\x00\x01", "\x00\x00\x00\x00\x00\x01"} {
		var b []byte
		for _, n := range []string{"\x67sps", "\x68pps", "\x65\x88key", "\x41\x9ap", "\x41\x9aq"} {
			b = append(append(b, code...), n...)
		}
		list := split(b, func() int { return 3 })
		if len(list) != 3 || string(list[2].Data) != "\x00\x00\x00\x03\x41\x9aq" {
			t.Errorf("%q: %d units: %v", code, len(list), list)
		}
	}
}

// What begins an access unit after a slice, and what does not (H.264, 7.4.1.2.3).
func TestM1_BordersOfAccessUnits(t *testing.T) {
	t.Parallel()
	params := "\x00\x00\x01\x67sps\x00\x00\x01\x68pps"
	for name, test := range map[string]struct {
		between string
		units   int
	}{
		"first slice":          {"\x41\x9a", 2},
		"other slice":          {"\x41\x5a", 1},
		"delimiter":            {"\x09\xf0", 1}, // and then a slice of the new unit
		"SEI":                  {"\x06\x01", 1},
		"prefix, first slice":  {"\x6e\x00\x00\x00\x01\x41\x9a", 2},
		"prefix, other slice":  {"\x6e\x80\x00\x00\x01\x41\x5a", 1},
		"filler":               {"\x0c\xff", 1},
		"end of sequence":      {"\x0a\x00\x00\x01\x41\x9a", 2},
		"partition A":          {"\x42\x9a", 2},
		"partition B":          {"\x43\x9a", 1},
		"auxiliary slice":      {"\x53\x9a", 1},
		"delimiter, new slice": {"\x09\xf0\x00\x00\x01\x41\x9a", 2},
		"SEI, new slice":       {"\x06\x01\x00\x00\x01\x41\x9a", 2},
		"SPS, new slice":       {params[3:] + "\x00\x00\x01\x41\x9a", 2},
	} {
		b := params + "\x00\x00\x01\x65\x88key\x00\x00\x01" + test.between
		if list := split([]byte(b), func() int { return 1 }); len(list) != test.units {
			t.Errorf("%s: %d units, want %d", name, len(list), test.units)
		}
	}
}

// R6: a unit that never ends costs bounded memory, is counted, and what follows
// begins with a key frame.
func TestR6_OversizedUnit(t *testing.T) {
	t.Parallel()
	sample := encoded(t)[0]
	units := bytes.SplitAfter(sample.bytes, []byte("\x00\x00\x00\x01\x09"))
	middle := len(bytes.Join(units[:31], nil)) - 5
	junk := bytes.Repeat([]byte{0xaa}, 3*maxUnit)
	stream := append(append(bytes.Clone(sample.bytes[:middle]), junk...), sample.bytes[middle:]...)
	list := split(stream, func() int { return 60000 })
	if len(list) != 29+20 {
		t.Fatalf("%d pictures, want 49", len(list))
	}
	whole(t, list[:29], sample.units[:29])
	after := list[29]
	if !after.Key || after.Lost != 11 || after.Seq != 40 {
		t.Errorf("after it: key %v, %d lost, number %d; want key, 11, 40", after.Key, after.Lost, after.Seq)
	}
	for i := range list[29:] {
		same(t, 40+i, &list[29+i], sample.units[40+i])
	}
	s := newSplitter()
	for range 1000 {
		n := len(s.space())
		s.added(n, time.Time{})
		s.next()
	}
	if cap(s.buf) > maxUnit+4*minRead {
		t.Errorf("the buffer grew to %d", cap(s.buf))
	}
}

// One kind of parameter set may come without the other, or with a P frame.
func TestM1_ParameterSetsAreGathered(t *testing.T) {
	t.Parallel()
	code := "\x00\x00\x00\x01"
	stream := code + "\x65\x88early" + // no parameter sets yet: of no use
		code + "\x67sps" + code + "\x65\x88half" +
		code + "\x68pps" + code + "\x41\x9anokey" +
		code + "\x65\x88one" +
		code + "\x68PPS" + code + "\x65\x88two" +
		code + "\x67SPS" + code + "\x41\x9ap" +
		code + "\x65\x88three"
	list := split([]byte(stream), func() int { return 7 })
	want := []string{"sps pps one", "sps PPS two", "SPS p", "SPS PPS three"}
	if len(list) != len(want) {
		t.Fatalf("%d pictures, want %d: %v", len(list), len(want), list)
	}
	for i := range list {
		var words [][]byte
		for _, n := range nals(&list[i]) {
			words = append(words, bytes.TrimLeft(n[1:], "\x88\x9a"))
		}
		if got := string(bytes.Join(words, []byte(" "))); got != want[i] || list[i].Seq != uint64(i) {
			t.Errorf("picture %d: %q, want %q", i, got, want[i])
		}
	}
}

// S5: any bytes in any pieces: no crash, and what comes out does not depend on the pieces.
func FuzzSplit(f *testing.F) {
	recorded, err := os.ReadFile("../../testdata/high-320x180.h264")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recorded[:4000], uint64(1))
	f.Add([]byte("\x00\x00\x01\x67\x42\x00\x1e\x00\x00\x01\x68\x01\x00\x00\x01\x65\x88\x00\x00\x01\x6e\x00\x00\x00\x01\x41\x5a\x00\x00\x01\xe0\x00"), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		once := split(b, func() int { return len(b) })
		r := rand.New(rand.NewPCG(seed, 0))
		again := split(b, func() int { return 1 + r.IntN(40) })
		if len(once) != len(again) {
			t.Fatalf("%d pictures at once, %d in pieces", len(once), len(again))
		}
		for i := range once {
			x, y := &once[i], &again[i]
			if !bytes.Equal(x.Data, y.Data) || x.Key != y.Key || x.Params != y.Params || x.Seq != y.Seq || x.Lost != y.Lost {
				t.Fatalf("picture %d depends on the pieces", i)
			}
			if i == 0 && !x.Key || x.Lost > 0 && !x.Key || x.Key && x.Params == 0 {
				t.Fatalf("picture %d: key %v, lost %d, params %d", i, x.Key, x.Lost, x.Params)
			}
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	sample := encoded(b)[0]
	b.SetBytes(int64(len(sample.bytes)))
	b.ReportAllocs()
	for b.Loop() {
		if n := len(split(sample.bytes, func() int { return 1 << 16 })); n != pictures {
			b.Fatal(n)
		}
	}
	b.ReportMetric(pictures, "frames/op")
}
