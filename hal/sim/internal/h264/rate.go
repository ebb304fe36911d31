package h264

import "math"

// Rate keeps a stream at its bitrate by two means: the quantisation parameter,
// and how many macroblocks get fresh grain. What moves takes as much as it
// needs at a parameter that leaves it about half of the budget; grain takes
// the rest, as sensor noise does in a camera with a constant bitrate.
type Rate struct {
	bitrate, fps, gop int

	key, content float64 // bits at parameter 0, by the model bits ~ 2^(-qp/6)
	grain        float64 // bits of one grain macroblock at parameter 0
	excess       float64 // bits sent beyond the budget so far
	keyQP, qp    int
	maxGrain     int
}

const (
	keyWeight    = 8    // a key frame may take as much as so many others
	contentShare = 0.5  // of a frame's budget, before grain
	grainShare   = 0.35 // of all macroblocks, at most, each frame
	worthGrain   = 24   // bits of a macroblock below which grain vanishes in quantisation
	finer        = 12   // steps, at most, that a picture's parameter is below its key frame's
	horizon      = 8    // frames, at least, over which an excess is made good
)

// The model's start, in bits per macroblock at parameter 0: what the built-in
// scene takes.
const (
	firstKey     = 2200
	firstContent = 100
	firstGrain   = 3000
)

// NewRate makes the control of a stream of so many macroblocks a picture.
func NewRate(macroblocks int) *Rate {
	n := float64(macroblocks)
	return &Rate{
		key: firstKey * n, content: firstContent * n, grain: firstGrain,
		maxGrain: int(n * grainShare),
	}
}

// Set changes the goal: bits a second, frames a second, frames a GOP. What was
// sent too much or too little under the old goal is forgotten.
func (r *Rate) Set(bitrate, fps, gop int) {
	if bitrate != r.bitrate || fps != r.fps {
		r.excess = 0
	}
	r.bitrate, r.fps, r.gop = bitrate, fps, gop
}

// Plan gives the parameter of the next picture and the number of macroblocks
// to grain; since counts the frames since the last key frame.
func (r *Rate) Plan(key bool, since int) (qp, grain int) {
	budget := float64(r.bitrate) / float64(r.fps)
	if key {
		n := float64(r.gop)
		want := budget*keyWeight*n/(keyWeight+n-1) - r.excess/horizon
		r.keyQP = parameter(r.key, max(want, budget/4))
		if r.qp > 0 {
			// The last key frame's cost says little if much has changed since:
			// never be much finer than the pictures before.
			r.keyQP = max(r.keyQP, r.qp-2)
		}
		r.qp = r.keyQP
		return r.keyQP, 0
	}
	left := min(max(r.gop-since, horizon), 2*r.fps)
	want := budget - r.excess/float64(left)
	want = min(max(want, budget/8), 3*budget)
	ideal := parameter(r.content, want*contentShare)
	if r.grain*gain(ideal) < worthGrain {
		ideal = parameter(r.content, want) // grain would vanish: all for what moves
	}
	r.qp += min(max(ideal-r.qp, -2), 2)
	r.qp = min(max(r.qp, r.keyQP-finer, MinQP), MaxQP)
	rest := want - r.content*gain(r.qp)
	each := r.grain * gain(r.qp)
	if each < worthGrain/2 {
		return r.qp, 0
	}
	return r.qp, min(max(int(rest/each), 0), r.maxGrain)
}

// Done learns from the coded picture; grain is how many macroblocks got some.
func (r *Rate) Done(u *Unit, grain int) {
	r.excess += float64(u.Bits) - float64(r.bitrate)/float64(r.fps)
	// A still scene must not save up for a burst.
	r.excess = max(r.excess, -float64(r.bitrate)/2)
	g := gain(u.QP)
	if u.Key {
		r.key = float64(u.Bits) / g
		return
	}
	r.content += (float64(u.Bits-u.GrainBits)/g - r.content) * 0.3
	if grain > 0 {
		r.grain += (float64(u.GrainBits)/float64(grain)/g - r.grain) * 0.3
	}
}

func gain(qp int) float64 { return math.Exp2(-float64(qp) / 6) }

func parameter(at0, want float64) int {
	return min(max(int(math.Ceil(6*math.Log2(at0/want))), MinQP), MaxQP)
}
