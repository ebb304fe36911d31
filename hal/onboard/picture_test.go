package onboard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
)

// wire makes RTP packets; tell notes what an assembler made of them.
type wire struct {
	assembler
	seq  uint16
	told []string
}

func newWire() *wire {
	w := &wire{}
	w.reset()
	w.hand = func(p picture) {
		text := fmt.Sprintf("%d:", p.stamp)
		for n := range hal.SplitAVC(p.data) {
			text += fmt.Sprintf(" %d", n[0]&31)
		}
		if p.data == nil {
			text += " torn"
		}
		w.told = append(w.told, text)
	}
	w.gap = func() { w.told = append(w.told, "gap") }
	return w
}

func (w *wire) send(stamp uint32, marker bool, payload ...byte) {
	w.seq++
	p := rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: w.seq, Timestamp: stamp, Marker: marker}, Payload: payload}
	w.add(&p, time.Now())
}

func (w *wire) want(t *testing.T, want ...string) {
	t.Helper()
	if fmt.Sprintf("%q", w.told) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", w.told, want)
	}
}

const first, later = 0x80, 0x40 // of a slice header: macroblock 0, another one

func TestPicturesEndWithTheirMarker(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.send(1, false, 0x67, 1, 2)
	w.send(1, false, 0x68, 1)
	w.send(1, false, 0x09, 0xf0) // delimiter
	w.send(1, false, 0x65, first, 1, 0, 0)
	w.send(1, true, 0x65, later, 1)
	w.send(2, true, 0x41, first, 9)
	w.want(t, "1: 7 8 5 5", "2: 1")
}

// Some mark every NAL unit, parameter sets too (divinus: every slice).
func TestMarkersAtEveryNALUnit(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.send(1, true, 0x67, 1, 2)
	w.send(1, true, 0x68, 1)
	w.send(1, true, 0x06, 5, 1)
	w.send(1, true, 0x65, first, 1)
	w.send(1, true, 0x65, later, 1) // this can only be seen now
	w.send(2, true, 0x41, first, 9)
	w.send(2, true, 0x41, later, 9)
	w.send(3, true, 0x41, first, 9)
	w.send(3, true, 0x41, later, 9)
	w.send(4, true, 0x65, first, 9)
	w.want(t, "1: 7 8 6 5", "1: torn", "2: 1 1", "3: 1 1")
}

func TestPicturesWithoutMarkers(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.sps, w.pps = [][]byte{{0x67, 1}}, [][]byte{{0x68, 1}}
	w.send(1, false, 0x65, first, 1)
	w.send(2, false, 0x41, first, 2)
	w.send(2, false, 0x41, first, 3) // another picture of the same time
	w.send(3, false, 0x41, first, 2)
	w.want(t, "1: 7 8 5", "2: 1", "2: 1")
}

// A key frame gets the newest parameter sets, wherever they came.
func TestParameterSetsFromEverywhere(t *testing.T) {
	t.Parallel()
	w := newWire()
	var got []byte
	w.hand = func(p picture) { got = p.data[:p.params] }
	w.sps, w.pps = [][]byte{{0x67, 1}}, [][]byte{{0x68, 1}}
	check := func(want ...[]byte) {
		t.Helper()
		var list []byte
		for _, n := range want {
			list = hal.AppendAVC(list, n)
		}
		if !bytes.Equal(got, list) {
			t.Errorf("in front stands % x, want % x", got, list)
		}
	}
	w.send(1, true, 0x65, first, 1)
	check([]byte{0x67, 1}, []byte{0x68, 1})
	w.send(2, false, 0x67, 2) // without a picture
	w.send(3, true, 0x65, first, 1)
	check([]byte{0x67, 2}, []byte{0x68, 1})
	w.send(4, false, 0x68, 3)
	w.send(4, false, 0x68, 4)
	w.send(4, true, 0x65, first, 1)
	check([]byte{0x67, 2}, []byte{0x68, 3}, []byte{0x68, 4})
	w.send(5, true, 0x18, 0, 2, 0x67, 5, 0, 3, 0x65, first, 1) // STAP-A
	check([]byte{0x67, 5}, []byte{0x68, 3}, []byte{0x68, 4})
	w.send(6, true, 0x41, first, 1)
	check()
}

func TestKeyFrameWithoutParameterSetsIsOfNoUse(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.send(1, true, 0x65, first, 1)
	w.want(t, "1: torn")
}

func TestLostPackets(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.sps, w.pps = [][]byte{{0x67, 1}}, [][]byte{{0x68, 1}}
	w.send(1, true, 0x65, first, 1)
	w.seq++ // between pictures
	w.send(2, true, 0x41, first, 1)
	w.send(3, false, 0x41, first, 1)
	w.seq++ // within one
	w.send(3, true, 0x41, later, 1)
	w.seq++ // its beginning
	w.send(4, true, 0x41, later, 1)
	w.send(5, false, 0x7c, 0x85, first, 1)
	w.seq++ // within a NAL unit
	w.send(5, true, 0x7c, 0x45, 1)
	w.send(6, false, 0x7c, 0x85, first, 1)
	w.send(6, true, 0x7c, 0x45, 1)
	w.want(t, "1: 7 8 5", "gap", "2: 1", "gap", "3: torn", "gap", "4: torn", "gap", "5: torn", "6: 7 8 5")
}

// A NAL unit in parts without content would grow the decoder's list for ever.
func TestHostilePacketsCostNoMemory(t *testing.T) {
	t.Parallel()
	w := newWire()
	w.send(1, false, 0x7c, 0x85, first, 1)
	for range 3 * maxPieces {
		w.send(1, false, 0x7c, 0x05)
	}
	if w.pieces > maxPieces {
		t.Errorf("%d parts are held", w.pieces)
	}
	for range 3 * maxNALs {
		w.send(2, false, 0x06, 5, 1)
	}
	if len(w.nals) > maxNALs {
		t.Errorf("%d NAL units are held", len(w.nals))
	}
	w.send(3, false, append([]byte{0x41, first}, make([]byte, 60000)...)...)
	for range 200 {
		w.send(3, false, append([]byte{0x41, later}, bytes.Repeat([]byte{1}, 60000)...)...)
	}
	if w.size > maxPicture {
		t.Errorf("%d bytes are held", w.size)
	}
	w.send(4, true, 0x41, first, 1)
	w.want(t, "1: torn", "2: torn", "3: torn", "4: 1")
}

func FuzzAssembler(f *testing.F) {
	f.Add([]byte{1, 3, 0x67, 1, 2, 1, 2, 0x68, 1, 0x81, 3, 0x65, 0x80, 1, 2, 4, 0x7c, 0x85, 0x80, 1})
	f.Add([]byte{1, 9, 0x18, 0, 2, 0x67, 5, 0, 2, 0x65, 0x80, 0x82, 5, 0x7c, 0xc5, 0x80, 1, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWire()
		w.hand = func(p picture) {
			total := 0
			for n := range hal.SplitAVC(p.data) {
				if total += 4 + len(n); n[len(n)-1] == 0 {
					t.Fatal("a NAL unit ends with zeros")
				}
			}
			if total != len(p.data) || p.params > total || p.key && p.params == 0 && p.data != nil {
				t.Fatalf("%d of %d bytes are NAL units, %d of parameter sets", total, len(p.data), p.params)
			}
		}
		for len(in) > 2 { // stamp and marker, length, payload
			n := min(int(in[1]), len(in)-2)
			w.send(uint32(in[0]&0x7f), in[0]&0x80 != 0, in[2:2+n]...)
			in = in[2+n:]
		}
	})
}
