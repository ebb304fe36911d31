package e2e

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal/sim"
)

// aligned is how far sound and picture may be apart, in seconds.
const aligned = 0.040

// footageOf is what a stream gave: the frames that anybody received, and how many
// the simulated camera itself came too late for.
type footageOf struct {
	seen map[uint32]bool
	lost int
}

// checkRecording fails the test unless the recording holds every picture and all
// sound of a span, one with the other. The time of the very first picture is often
// a client's guess, and nothing here.
func checkRecording(t *testing.T, c client, r recording, stream *footageOf, span time.Duration) {
	t.Helper()
	for _, c := range r.complaints {
		t.Error(c)
	}
	if r.early > 0 && !c.joins {
		t.Errorf("%d pictures came before the first key frame", r.early)
	}
	if want := int(span/time.Second)*25 - stream.lost; len(r.pictures) < want {
		t.Fatalf("%d pictures, want %d", len(r.pictures), want)
	}
	checkFrames(t, r.pictures, stream)
	checkSoundWhole(t, r.sound, span)
	settled := r.pictures[min(len(r.pictures), max(1, int(c.settles/time.Second)*25)):]
	checkTimes(t, settled)
	checkAligned(t, settled, r.sound)
}

// checkFrames looks whether every frame from first to last is there once, in
// order: none that another client received is missing, and of those that nobody
// received no more than the camera lost.
func checkFrames(t *testing.T, list []picture, stream *footageOf) {
	t.Helper()
	nobody, want := 0, list[0].frame
	for i, p := range list {
		if p.frame < want {
			t.Fatalf("picture %d is frame %d, want %d", i, p.frame, want)
		}
		for ; want < p.frame; want++ {
			if stream.seen[want] {
				t.Errorf("frame %d is missing", want)
			}
			nobody++
		}
		want++
	}
	if nobody > stream.lost {
		t.Errorf("%d frames are missing, the camera lost %d", nobody, stream.lost)
	}
	t.Logf("frames %d to %d, %d missing, %d lost by the camera", list[0].frame, want-1, nobody, stream.lost)
}

// checkTimes looks whether pictures are as far apart as they were captured.
func checkTimes(t *testing.T, list []picture) {
	t.Helper()
	for i := 1; i < len(list); i++ {
		want := 0.040 * float64(list[i].frame-list[i-1].frame)
		if d := list[i].at - list[i-1].at; math.Abs(d-want) > 0.020 {
			t.Errorf("frame %d comes %.3f s after %d, want %.3f", list[i].frame, d, list[i-1].frame, want)
			return
		}
	}
}

// checkSoundWhole looks whether no sample is missing, twice there or changed: what
// the simulated camera hears repeats itself with the beeps.
func checkSoundWhole(t *testing.T, list []sounding, span time.Duration) {
	t.Helper()
	const period = int(sim.BeepEvery / time.Second * 8000)
	var all []byte
	for _, s := range list {
		all = append(all, s.ulaw...)
	}
	if want := int(span/time.Second) * 8000; len(all) < want {
		t.Errorf("%.2f s of sound, want %s", float64(len(all))/8000, span)
		return
	}
	if !bytes.Equal(all[period:], all[:len(all)-period]) {
		at := 0
		for all[at] == all[at+period] {
			at++
		}
		t.Errorf("sound is not what was heard %.2f s after its start", float64(at+period)/8000)
	}
}

// checkAligned compares each beep with the moment that the lamp goes on.
func checkAligned(t *testing.T, pictures []picture, sound []sounding) {
	t.Helper()
	heard := beginsOf(sound)
	low, high, n := math.Inf(1), math.Inf(-1), 0
	for i := 1; i < len(pictures); i++ {
		p := pictures[i]
		if !p.lamp || pictures[i-1].lamp || math.IsNaN(p.at) {
			continue
		}
		best := math.Inf(1)
		for _, b := range heard {
			if d := b - p.at; math.Abs(d) < math.Abs(best) {
				best = d
			}
		}
		if math.IsInf(best, 0) || math.Abs(best) > float64(sim.BeepEvery/time.Second)/2 {
			continue // the sound begins later, or ends before
		}
		low, high, n = min(low, best), max(high, best), n+1
	}
	if n < 10 {
		t.Errorf("only %d beeps to compare (%d heard)", n, len(heard))
	}
	what := fmt.Sprintf("%d beeps, %+.1f to %+.1f ms from the lamp", n, low*1000, high*1000)
	if low < -aligned || high > aligned {
		t.Error(what)
		return
	}
	t.Log(what)
}

// beginsOf are the times at which beeps begin, to the sample.
func beginsOf(list []sounding) (begins []float64) {
	const loud, quiet = 3000, 800 // samples of silence that end a beep
	since := 0                    // a beep that has begun before the recording is not one's beginning
	for _, s := range list {
		for i, u := range s.ulaw {
			if v := linear(u); v < loud && v > -loud {
				since++
				continue
			}
			if since >= quiet && !math.IsNaN(s.at) {
				begins = append(begins, s.at+float64(i)/8000)
			}
			since = 0
		}
	}
	return begins
}

// linear is a µ-law sample as a number (G.711, table 2a).
func linear(u byte) int {
	u = ^u
	v := (int(u&15)<<3+132)<<(u>>4&7) - 132
	if u&0x80 != 0 {
		return -v
	}
	return v
}
