package sim

import (
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// The cost of a frame, painted and encoded: at 25 frames a second 1 ms is 2.5 %
// of a core.
func BenchmarkEncode720(b *testing.B) { benchmarkEncode(b, "main", nil) }
func BenchmarkEncode640(b *testing.B) { benchmarkEncode(b, "sub", nil) }

// By night the picture goes through a lens that is not plain.
func BenchmarkEncode720AtNight(b *testing.B) { benchmarkEncode(b, "main", script(b, "light: 3")) }

func benchmarkEncode(b *testing.B, stream string, s *Scenario) {
	b.ReportAllocs()
	board := New(Config{Title: "bench", Scenario: s})
	opened, err := board.OpenVideo(b.Context(), stream, hal.VideoConfig{})
	if err != nil {
		b.Fatal(err)
	}
	v := opened.(*video)
	v.encode() // the first key frame, of a cold encoder
	used := cpu(b)
	for b.Loop() {
		v.encode()
	}
	perFrame := (cpu(b) - used) / float64(b.N)
	b.ReportMetric(perFrame*25*100, "%core@25fps")
}

// cpu is the processor time used so far, in seconds: on a busy machine wall
// time says little.
func cpu(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

func BenchmarkBackdrop720(b *testing.B) {
	n := newNoise()
	for b.Loop() {
		newBackdrop(1280, 720, n)
	}
}

// M13: a camera for developers must not eat their machine (hal contract: one
// allocation for the bytes handed over, and nothing else a frame).
func TestM13_AFrameCostsAtMostTwoAllocations(t *testing.T) {
	board := New(Config{})
	for _, name := range []string{"main", "sub"} {
		s, err := board.OpenVideo(t.Context(), name, hal.VideoConfig{})
		if err != nil {
			t.Fatal(err)
		}
		v := s.(*video)
		for v.seq < 55 {
			v.encode()
		}
		if n := testing.AllocsPerRun(100, v.encode); n > 2 {
			t.Errorf("%s: %v allocations a frame", name, n)
		}
	}
}
