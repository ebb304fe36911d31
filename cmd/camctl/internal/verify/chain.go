package verify

import (
	"fmt"
	"maps"
	"slices"
)

// Chain follows the manifests of one binding, which may come in any order: one
// chain a stream, numbered from 1, each naming the hash of the one before. Not
// for several goroutines; its zero value is empty.
type Chain struct{ streams map[string]map[uint64]ring }

// ring is one manifest of a chain.
type ring struct{ hash, prev string }

// Gap is a run of manifests of a stream that have not been seen.
type Gap struct {
	Stream   string
	From, To uint64 // both are missing
}

func (g Gap) String() string {
	if g.From == g.To {
		return fmt.Sprintf("%s: clip %d is missing", g.Stream, g.From)
	}
	return fmt.Sprintf("%s: clips %d to %d are missing", g.Stream, g.From, g.To)
}

// Add takes one manifest in. The faults are contradictions between what the
// camera signed: two clips with one number, or a neighbour that names another
// one before it. The same manifest again is no fault.
func (c *Chain) Add(clip Clip) (faults []string) {
	if c.streams == nil {
		c.streams = map[string]map[uint64]ring{}
	}
	s := c.streams[clip.Stream]
	if s == nil {
		s = map[uint64]ring{}
		c.streams[clip.Stream] = s
	}
	n := clip.Sequence
	if known, ok := s[n]; ok {
		if known.hash != clip.Hash {
			faults = append(faults, fmt.Sprintf("%s: two different clips have the number %d", clip.Stream, n))
		}
		return faults
	}
	s[n] = ring{clip.Hash, clip.Prev}
	if before, ok := s[n-1]; ok && before.hash != clip.Prev {
		faults = append(faults, broken(clip.Stream, n))
	}
	if after, ok := s[n+1]; ok && after.prev != clip.Hash {
		faults = append(faults, broken(clip.Stream, n+1))
	}
	return faults
}

func broken(stream string, n uint64) string {
	return fmt.Sprintf("%s: clip %d does not follow clip %d: the chain is broken", stream, n, n-1)
}

// Gaps lists what is missing between 1 and the newest manifest of each stream.
// Whether newer ones are missing only the camera's status can tell.
func (c *Chain) Gaps() []Gap {
	var gaps []Gap
	for _, name := range slices.Sorted(maps.Keys(c.streams)) {
		next := uint64(1)
		for _, n := range slices.Sorted(maps.Keys(c.streams[name])) {
			if n > next {
				gaps = append(gaps, Gap{name, next, n - 1})
			}
			next = n + 1
		}
	}
	return gaps
}
