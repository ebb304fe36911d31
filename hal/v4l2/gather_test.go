package v4l2

import (
	"bytes"
	"math"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	mono := func(age time.Duration) frame {
		return frame{flags: flagTimestampMono, stamp: time.Hour - age}
	}
	for _, c := range []struct {
		what string
		f    frame
		want time.Duration // before now
	}{
		{"a driver's stamp", mono(30 * time.Millisecond), 30 * time.Millisecond},
		{"a little ahead", mono(-20 * time.Millisecond), 0},
		{"nonsense ahead", mono(-time.Minute), 0},
		{"nonsense behind", mono(time.Minute), 0},
		{"another clock", frame{flags: 0x4000, stamp: time.Hour - time.Second}, 0},
		{"no clock", frame{stamp: time.Hour - time.Second}, 0},
	} {
		if is := now.Sub((&clock{}).at(c.f, now, time.Hour)); is != c.want {
			t.Errorf("%s: %v before now, want %v", c.what, is, c.want)
		}
	}
	k := &clock{}
	first := k.at(mono(0), now, time.Hour)
	if second := k.at(mono(time.Millisecond), now, time.Hour); second.Sub(first) != minStep {
		t.Errorf("a stamp that goes back makes %v", second.Sub(first))
	}
}

func take(t *testing.T, g *gatherer, seq uint32, data []byte, want bool) hal.AccessUnit {
	t.Helper()
	au, ok := g.take(frame{sequence: seq, data: data}, time.Now())
	if ok != want {
		t.Fatalf("buffer %d: %v, want %v", seq, ok, want)
	}
	return au
}

func TestGatherNumbers(t *testing.T) {
	t.Parallel()
	g := &gatherer{}
	take(t, g, math.MaxUint32, keyFrame(), true)
	if au := take(t, g, 0, picture1(), true); au.Lost != 0 {
		t.Errorf("the driver's number went round: %d lost", au.Lost)
	}
	for range 3 { // a driver that doesn't count
		if au := take(t, g, 0, picture1(), true); au.Lost != 0 {
			t.Errorf("%d lost", au.Lost)
		}
	}
	take(t, g, 2, picture1(), false)
	if au := take(t, g, 3, keyFrame(), true); au.Lost != 2 {
		t.Errorf("%d lost, want the gap and the one that was left out", au.Lost)
	}
	g.restarted()
	take(t, g, 0, picture1(), false)
	if au := take(t, g, 1, keyFrame(), true); au.Seq != 10 || au.Lost != 1 {
		t.Errorf("after another start: number %d, %d lost", au.Seq, au.Lost)
	}
}

func TestGatherParameterSets(t *testing.T) {
	t.Parallel()
	idr := annexB([]byte{0x65, 0x88, 0x80})
	g := &gatherer{}
	take(t, g, 1, idr, false) // which nobody could decode
	take(t, g, 2, annexB(testSPS, testPPS), false)
	first := take(t, g, 3, idr, true)
	if sps, pps := first.ParameterSets(); !bytes.Equal(sps, testSPS) || !bytes.Equal(pps, testPPS) || first.Lost != 0 {
		t.Errorf("sets %x %x, %d lost", sps, pps, first.Lost)
	}
	if g.width != 64 || g.height != 96 {
		t.Errorf("%dx%d", g.width, g.height)
	}
	take(t, g, 4, annexB(testSPS, testPPS), false)
	if au := take(t, g, 5, idr, true); au.Lost != 0 || au.Seq != first.Seq+1 {
		t.Errorf("sets in a buffer of their own counted as a frame: number %d after %d, %d lost", au.Seq, first.Seq, au.Lost)
	}
}

func TestGatherCountsTheGOP(t *testing.T) {
	t.Parallel()
	g := &gatherer{}
	seq := uint32(0)
	gop := func(n int) {
		for i := range n {
			seq++
			if i == 0 {
				take(t, g, seq, keyFrame(), true)
			} else {
				take(t, g, seq, picture1(), true)
			}
		}
	}
	gop(8)
	gop(5)
	if g.gop != 8 {
		t.Errorf("counted %d, want 8", g.gop)
	}
	g.forced = true
	gop(8)
	if g.gop != 8 {
		t.Errorf("counted %d at a key frame that was asked for", g.gop)
	}
}
