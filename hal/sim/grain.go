package sim

import (
	"encoding/binary"
	"math/rand/v2"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

// grainAmplitude bounds what grain adds to luma or takes from it.
const grainAmplitude = 14

const (
	grainPatches = 32
	grainBias    = grainAmplitude * 0x0101_0101_0101_0101
)

// grain is sensor noise: each macroblock in turn, in random order, gets one of
// some patches over the still picture.
type grain struct {
	order   []uint32
	next    int
	patches [grainPatches][256]byte // 0 to 2*grainAmplitude
	rnd     *rand.PCG
}

func newGrain(n int, seed uint64) *grain {
	g := &grain{order: make([]uint32, n), rnd: rand.NewPCG(seed, 0x6772)}
	r := rand.New(g.rnd)
	for i, v := range r.Perm(n) {
		g.order[i] = uint32(v)
	}
	for i := range g.patches {
		g.patches[i] = newPatch(r)
	}
	return g
}

// newPatch makes noise that is a little soft, as that of a sensor is after
// demosaicing.
//
//go:norace
func newPatch(r *rand.Rand) (p [256]byte) {
	var raw [18 * 18]float64
	for i := range raw {
		raw[i] = r.NormFloat64() * 9
	}
	for i := range p {
		o := i/16*18 + i%16
		v := (raw[o] + raw[o+1] + raw[o+18] + raw[o+19]) / 3.2
		p[i] = byte(min(max(v, -grainAmplitude), grainAmplitude) + grainAmplitude + 0.5)
	}
	return p
}

// apply grains up to n macroblocks that nothing else changed or covers, and
// marks them.
//
//go:norace
func (g *grain) apply(p *painter, n int, mark h264.Change) (done int) {
	for range g.order {
		if done >= n {
			break
		}
		i := int(g.order[g.next])
		if g.next++; g.next == len(g.order) {
			g.next = 0
		}
		if p.busy[i] || p.mask[i] != h264.Same {
			continue
		}
		p.mask[i] = mark
		g.put(p, i)
		done++
	}
	return done
}

// put adds a patch, 8 pixels at a time: the still picture keeps so far from
// both ends that no byte overflows.
//
//go:norace
func (g *grain) put(p *painter, i int) {
	patch := &g.patches[g.rnd.Uint64()%grainPatches]
	stride := p.pic.Stride()
	left, top := i%p.pic.MBW*16, i/p.pic.MBW*16
	o := top*stride + left
	var seen [16]byte
	for y := range 16 {
		src, dst := p.back.still.Y[o+y*stride:][:16], p.pic.Y[o+y*stride:][:16]
		if !p.lens.plain {
			src = seen[:]
			p.lens.row(src, p.back.still, left, top+y)
		}
		for x := 0; x < 16; x += 8 {
			v := binary.LittleEndian.Uint64(src[x:]) + binary.LittleEndian.Uint64(patch[y*16+x:]) - grainBias
			binary.LittleEndian.PutUint64(dst[x:], v)
		}
	}
}
