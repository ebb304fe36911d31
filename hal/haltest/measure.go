package haltest

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// sameFPS compares within 5 %, and what rounding to whole numbers takes.
func sameFPS(is float64, want int) bool {
	return math.Abs(is-float64(want)) <= max(0.6, 0.05*float64(want))
}

// fpsOf measures frames a second by their times.
func fpsOf(shots []shot, want int) error {
	if len(shots) < 2 {
		return errNoFrames
	}
	first, last := shots[0], shots[len(shots)-1]
	if took := last.time.Sub(first.time); took > 0 {
		if is := float64(last.seq-first.seq) / took.Seconds(); !sameFPS(is, want) {
			return fmt.Errorf("%.2f frames a second, Config says %d", is, want)
		}
	}
	return nil
}

// gopOf compares the frames between key frames, which losses make shorter.
func gopOf(shots []shot, want int) error {
	key, lost, seen := -1, false, false
	for i, f := range shots {
		lost = lost || f.lost > 0
		if !f.key {
			if key >= 0 && i-key > want {
				return fmt.Errorf("no key frame after %d frames, Config says %d", i-key, want)
			}
			continue
		}
		if key >= 0 && !lost {
			seen = true
			if i-key != want {
				return fmt.Errorf("a key frame after %d frames, Config says %d", i-key, want)
			}
		}
		key, lost = i, false
	}
	if !seen {
		return lacks("no whole GOP was read without a loss")
	}
	return nil
}

// bitrateOf measures over whole GOPs where there are two at least, so that it
// is no matter where the run begins.
func bitrateOf(shots []shot) float64 {
	var keys []int
	for i, f := range shots {
		if f.key {
			keys = append(keys, i)
		}
	}
	first, last := 0, len(shots)-1
	if len(keys) > 2 {
		first, last = keys[0], keys[len(keys)-1]
	}
	bits := 0
	for _, f := range shots[first:last] {
		bits += 8 * f.size
	}
	return float64(bits) / shots[last].time.Sub(shots[first].time).Seconds()
}

// age is how old a stream's frames are when they come, the least of many: at
// the beginning and at the end of the film.
type age struct {
	name        string
	begin, late time.Duration
}

func agesOf(name string, ages []time.Duration) age {
	third := len(ages) / 3
	return age{name, slices.Min(ages[:third]), slices.Min(ages[len(ages)-third:])}
}
