package alsa

import "math"

// converter changes the rate of one channel of samples: a low pass against what
// the lower rate can't carry, and a straight line between samples where rates
// are no multiples of each other. That is good enough for speech.
type converter struct {
	in, out int
	taps    []int32 // of the low pass, in 1/65536; one tap of all if there is nothing to cut
	past    []int16 // samples that are still needed
	at      int     // where in past the next sample is, in 1/out
}

func newConverter(in, out int) *converter {
	c := &converter{in: in, out: out, taps: []int32{1 << 16}}
	if in > out {
		c.taps = lowPass(0.45*float64(out)/float64(in), 8*((in+out-1)/out)+1)
	}
	c.past = make([]int16, len(c.taps)/2*2) // silence
	return c
}

// lowPass is a windowed sinc; cut is in parts of the rate.
func lowPass(cut float64, n int) []int32 {
	taps := make([]float64, n)
	sum := 0.0
	for i := range taps {
		x := float64(i) - float64(n-1)/2
		taps[i] = 2 * cut
		if x != 0 {
			taps[i] = math.Sin(2*math.Pi*cut*x) / (math.Pi * x)
		}
		taps[i] *= 0.54 - 0.46*math.Cos(2*math.Pi*float64(i)/float64(n-1))
		sum += taps[i]
	}
	fixed := make([]int32, n)
	for i, t := range taps {
		fixed[i] = int32(math.Round(t / sum * 65536))
	}
	return fixed
}

// push takes samples and appends what comes of them to dst.
func (c *converter) push(dst, src []int16) []int16 {
	if c.in == c.out {
		return append(dst, src...)
	}
	c.past = append(c.past, src...)
	for last := len(c.past) - len(c.taps); ; c.at += c.in {
		i, f := c.at/c.out, c.at%c.out
		if i > last || f > 0 && i+1 > last {
			c.drop(min(i, len(c.past)))
			return dst
		}
		v := c.filtered(i)
		if f > 0 {
			v += (c.filtered(i+1) - v) * f / c.out
		}
		dst = append(dst, clip(v))
	}
}

// drop forgets n samples of the past.
func (c *converter) drop(n int) {
	c.past = c.past[:copy(c.past, c.past[n:])]
	c.at -= n * c.out
}

func (c *converter) filtered(i int) int {
	var sum int64
	for k, t := range c.taps {
		sum += int64(t) * int64(c.past[i+k])
	}
	return int((sum + 1<<15) >> 16)
}

func clip(v int) int16 { return int16(min(max(v, math.MinInt16), math.MaxInt16)) }

// mono makes one channel of the first two of b and appends it to dst.
func mono(dst, b []int16, channels int) []int16 {
	for ; len(b) >= channels; b = b[channels:] {
		v := int(b[0])
		if channels > 1 {
			v = (v + int(b[1])) / 2
		}
		dst = append(dst, int16(v))
	}
	return dst
}

// spread gives all channels the same samples and appends them to dst.
func spread(dst, b []int16, channels int) []int16 {
	for _, v := range b {
		for range channels {
			dst = append(dst, v)
		}
	}
	return dst
}
