package hal

import (
	"bytes"
	"errors"
	"testing"
)

func annexB(nals ...string) []byte {
	var b []byte
	for i, n := range nals {
		if i%2 == 0 {
			b = append(b, 0)
		}
		b = append(append(b, 0, 0, 1), n...)
	}
	return b
}

func list(a AccessUnit) (out []string) {
	for n := range a.NALs() {
		out = append(out, string(n))
	}
	return out
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

func TestM1_ParseAnnexBPutsParameterSetsFirstAndDropsDelimiters(t *testing.T) {
	t.Parallel()
	b := append(annexB("\x09\xf0", "\x06sei", "\x67sps", "\x68pps", "\x65idr", "\x65idr2"), 0, 0, 0)
	a, err := ParseAnnexB(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, list(a), []string{"\x67sps", "\x68pps", "\x06sei", "\x65idr", "\x65idr2"})
	sps, pps := a.ParameterSets()
	if !a.Key || string(sps) != "\x67sps" || string(pps) != "\x68pps" || a.Params != 16 {
		t.Fatalf("key %v sps %q pps %q params %d", a.Key, sps, pps, a.Params)
	}
	b[len(b)-5] = 'X' // the device reuses its buffer: the unit must not change
	if bytes.Contains(a.Data, []byte("X")) {
		t.Fatal("the access unit aliases the device's buffer")
	}
}

func TestM1_KeyFrameWithoutParameterSetsGetsTheLastOnes(t *testing.T) {
	t.Parallel()
	first, _ := ParseAnnexB(annexB("\x67sps", "\x68pps", "\x65a"), nil)
	a, err := ParseAnnexB(annexB("\x65b"), first.Data[:first.Params])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, list(a), []string{"\x67sps", "\x68pps", "\x65b"})
	p, _ := ParseAnnexB(annexB("\x41b"), first.Data[:first.Params])
	equal(t, list(p), []string{"\x41b"})
	if p.Key || p.Params != 0 {
		t.Fatal("a P frame got parameter sets")
	}
}

func TestM1_GarbageIsAnError(t *testing.T) {
	t.Parallel()
	for _, b := range [][]byte{nil, []byte("hello"), annexB("\x67sps"), {0, 0, 1}, {0, 0, 0, 1, 0, 0, 1}} {
		if _, err := ParseAnnexB(b, nil); !errors.Is(err, ErrGarbage) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// S5: the splitter takes any bytes and never loses or invents one.
func FuzzParseAnnexB(f *testing.F) {
	f.Add(annexB("\x67sps", "\x68pps", "\x65idr"))
	f.Add([]byte{0, 0, 1, 0x65, 0, 0, 0, 0, 1, 0x41})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnnexB(b, nil)
		if err != nil {
			return
		}
		total := 0
		for n := range a.NALs() {
			total += 4 + len(n)
		}
		if total != len(a.Data) || len(a.Data) > 2*len(b)+8 {
			t.Fatalf("%d of %d bytes from %d", total, len(a.Data), len(b))
		}
	})
}
