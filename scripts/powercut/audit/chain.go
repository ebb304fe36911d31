package audit

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// ring is one number of a stream's chain.
type ring struct{ what, hash, prev string }

// Chain tells where the chains of all streams are broken: a number that is
// neither there nor given up by a signed gap, one that is there twice, or a
// link to something else.
func (r Report) Chain() (faults []string) {
	streams, given := map[string]map[uint64]ring{}, map[string]map[uint64]bool{}
	add := func(stream string, n uint64, x ring) {
		if streams[stream] == nil {
			streams[stream], given[stream] = map[uint64]ring{}, map[uint64]bool{}
		}
		if old, twice := streams[stream][n]; twice {
			faults = append(faults, fmt.Sprintf("%s %d: %s and %s", stream, n, old.what, x.what))
		}
		streams[stream][n] = x
	}
	for _, c := range r.Clips {
		add(c.Stream, c.Sequence, ring{c.Name, c.Hash, c.Prev})
	}
	for _, g := range r.Gaps {
		add(g.Stream, g.Sequence, ring{g.Name + " (" + string(g.Reason) + ")", g.Hash, g.Prev})
		if g.Reason == cloud.GapLost {
			continue // the camera says so, and has not given it up
		}
		for _, m := range g.Missing {
			for n := m.From; n <= m.To; n++ {
				given[g.Stream][n] = true
			}
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(streams)) {
		chain := streams[stream]
		last := slices.Max(slices.Collect(maps.Keys(chain)))
		for n := uint64(1); n <= last; n++ {
			x, here := chain[n]
			before, known := chain[n-1]
			switch {
			case !here && !given[stream][n]:
				faults = append(faults, fmt.Sprintf("%s %d is missing, and no gap tells", stream, n))
			case here && known && x.prev != before.hash:
				faults = append(faults, fmt.Sprintf("%s %d: %s does not follow %s", stream, n, x.what, before.what))
			}
		}
	}
	return faults
}

// Boot is what one run of the camera has recorded of one stream.
type Boot struct {
	ID           string
	Began, Ended time.Time // capture of the first picture, end of the last
	Clips        []Clip    // by number of the first frame
	Gaps         []Gap     // those of this boot that tell of frames
	Lossy        bool      // set by who has heard the board itself tell that it lost frames: it may have done so between clips
}

// Boots are those of a stream, in the order of time.
func (r Report) Boots(stream string) (list []Boot) {
	by := map[string]*Boot{}
	for _, c := range r.Clips {
		if c.Stream != stream {
			continue
		}
		if by[c.Details.Boot] == nil {
			by[c.Details.Boot] = &Boot{ID: c.Details.Boot}
		}
		by[c.Details.Boot].Clips = append(by[c.Details.Boot].Clips, c)
	}
	for _, g := range r.Gaps {
		if b := by[g.Details.Boot]; b != nil && g.Stream == stream && g.Details.LastFrame > 0 {
			b.Gaps = append(b.Gaps, g)
		}
	}
	for _, b := range by {
		slices.SortFunc(b.Clips, func(x, y Clip) int { return int(x.Details.FirstFrame) - int(y.Details.FirstFrame) })
		b.Began, b.Ended = b.Clips[0].Began, b.Clips[len(b.Clips)-1].Ended
		list = append(list, *b)
	}
	slices.SortFunc(list, func(x, y Boot) int { return x.Began.Compare(y.Began) })
	return list
}

// Frames tells where one clip does not go on with the frame after the last one
// of the clip before, and no gap says so. Missing is how many numbers have no
// picture because the board itself has lost it: those inside clips, and of a Lossy
// boot those between them.
func (b Boot) Frames() (faults []string, missing int) {
	for i, c := range b.Clips {
		n := int(c.Details.LastFrame) - int(c.Details.FirstFrame) + 1
		if n < c.Details.Frames {
			faults = append(faults, fmt.Sprintf("%s: %d frames from %d to %d", c.Name, c.Details.Frames, c.Details.FirstFrame, c.Details.LastFrame))
		}
		missing += max(0, n-c.Details.Frames)
		if i == 0 {
			continue
		}
		before := b.Clips[i-1]
		switch want := before.Details.LastFrame + 1; {
		case c.Details.FirstFrame > want && b.Lossy:
			missing += int(c.Details.FirstFrame - want)
		case c.Details.FirstFrame < want || c.Details.FirstFrame > want && !b.told(want, c.Details.FirstFrame-1):
			faults = append(faults, fmt.Sprintf("%s begins with frame %d, %s ended before %d", c.Name, c.Details.FirstFrame, before.Name, want))
		}
	}
	return faults, missing
}

// told tells whether a gap covers these frames.
func (b Boot) told(from, to uint64) bool {
	return slices.ContainsFunc(b.Gaps, func(g Gap) bool { return g.Details.FirstFrame <= from && g.Details.LastFrame >= to })
}
