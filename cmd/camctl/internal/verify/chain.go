package verify

import (
	"fmt"
	"maps"
	"slices"

	"iid2secure.nl/camagent/cloud"
)

// Chain follows the manifests and gaps of one binding, which may come in any
// order: one chain a stream, numbered from 1, each naming the hash of the one
// before. Not for several goroutines; its zero value is empty.
type Chain struct{ streams map[string]*links }

// links is what has been seen of a stream.
type links struct {
	rings map[uint64]ring
	given []given
	lost  []cloud.Span // that the camera has not given up: missing, though it says so
}

// ring is one number of a chain.
type ring struct{ hash, prev string }

// given is a run of numbers that the camera says it has given up.
type given struct {
	cloud.Span
	reason cloud.GapReason
}

// Missing is a run of numbers of a stream that have not been seen, and that the
// camera has not given up, as far as gaps tell.
type Missing struct {
	Stream   string
	From, To uint64 // both are missing
}

func (m Missing) String() string {
	if m.From == m.To {
		return fmt.Sprintf("%s: clip %d is missing", m.Stream, m.From)
	}
	return fmt.Sprintf("%s: clips %d to %d are missing", m.Stream, m.From, m.To)
}

// Told is a run of numbers that are not there, by the camera's own signed word.
type Told struct {
	Missing
	Reason cloud.GapReason
}

func (t Told) String() string {
	if t.From == t.To {
		return fmt.Sprintf("%s: clip %d: %s", t.Stream, t.From, ReasonText(t.Reason))
	}
	return fmt.Sprintf("%s: clips %d to %d: %s", t.Stream, t.From, t.To, ReasonText(t.Reason))
}

// ReasonText says why something is missing, to its owner.
func ReasonText(r cloud.GapReason) string {
	switch r {
	case cloud.GapRetention:
		return "given up for newer ones before the store had them: the limits of the card"
	case cloud.GapCard:
		return "the card could not take them"
	case cloud.GapCut:
		return "lost when the power was cut"
	case cloud.GapOff:
		return "recording was switched off by its owner"
	case cloud.GapLost:
		return "gone from the card, and not by the camera"
	}
	return "given up by the camera"
}

func (c *Chain) stream(name string) *links {
	if c.streams == nil {
		c.streams = map[string]*links{}
	}
	if c.streams[name] == nil {
		c.streams[name] = &links{rings: map[uint64]ring{}}
	}
	return c.streams[name]
}

// Add takes one manifest in. The faults are contradictions between what the
// camera signed: two statements with one number, or a neighbour that names another
// one before it. The same manifest again is no fault.
func (c *Chain) Add(clip Clip) (faults []string) {
	return c.stream(clip.Stream).add(clip.Stream, clip.Sequence, ring{clip.Hash, clip.Prev})
}

// AddGap takes one gap in, as Add does, with the numbers of which it tells.
func (c *Chain) AddGap(g Gap) (faults []string) {
	l := c.stream(g.Stream)
	for _, span := range g.Missing {
		if g.Reason == cloud.GapLost {
			l.lost = append(l.lost, span)
		} else {
			l.given = append(l.given, given{span, g.Reason})
		}
	}
	return l.add(g.Stream, g.Sequence, ring{g.Hash, g.Prev})
}

func (l *links) add(stream string, n uint64, r ring) (faults []string) {
	if known, ok := l.rings[n]; ok {
		if known.hash != r.hash {
			faults = append(faults, fmt.Sprintf("%s: two different clips have the number %d", stream, n))
		}
		return faults
	}
	l.rings[n] = r
	if before, ok := l.rings[n-1]; ok && before.hash != r.prev {
		faults = append(faults, broken(stream, n))
	}
	if after, ok := l.rings[n+1]; ok && after.prev != r.hash {
		faults = append(faults, broken(stream, n+1))
	}
	return faults
}

func broken(stream string, n uint64) string {
	return fmt.Sprintf("%s: clip %d does not follow clip %d: the chain is broken", stream, n, n-1)
}

// Streams names the streams that have been seen, sorted.
func (c *Chain) Streams() []string { return slices.Sorted(maps.Keys(c.streams)) }

// Ends are the lowest and the highest number that have been seen of a stream; 0
// if none has.
func (c *Chain) Ends(stream string) (first, last uint64) {
	l := c.streams[stream]
	if l == nil || len(l.rings) == 0 {
		return 0, 0
	}
	numbers := slices.Collect(maps.Keys(l.rings))
	return slices.Min(numbers), slices.Max(numbers)
}

// Hash is of the statement with that number; empty if it has not been seen.
func (c *Chain) Hash(stream string, n uint64) string {
	if l := c.streams[stream]; l != nil {
		return l.rings[n].hash
	}
	return ""
}

// Missing lists what is missing between 1 and the newest statement of each
// stream, and what of it the camera has told. Whether newer ones are missing only
// the camera's status can tell.
func (c *Chain) Missing() (missing []Missing, told []Told) {
	for _, name := range c.Streams() {
		_, last := c.Ends(name)
		m, t := c.MissingIn(name, 1, last)
		missing, told = append(missing, m...), append(told, t...)
	}
	return missing, told
}

// MissingIn is Missing of the numbers from to to of one stream.
func (c *Chain) MissingIn(stream string, from, to uint64) (missing []Missing, told []Told) {
	l := c.stream(stream)
	numbers := slices.Sorted(maps.Keys(l.rings))
	for next := from; next <= to; {
		i, here := slices.BinarySearch(numbers, next)
		if here {
			if next == to {
				break
			}
			next++
			continue
		}
		end := to
		if i < len(numbers) && numbers[i]-1 < to {
			end = numbers[i] - 1
		}
		m, t := l.split(Missing{stream, next, end})
		missing, told = append(missing, m...), append(told, t...)
		if end == to {
			break
		}
		next = end + 1
	}
	return missing, told
}

// Lost lists what of m the camera has found gone from its card without having given it up.
func (c *Chain) Lost(m Missing) (out []Missing) {
	for _, span := range c.stream(m.Stream).lost {
		if from, to := max(span.From, m.From), min(span.To, m.To); from <= to {
			out = append(out, Missing{m.Stream, from, to})
		}
	}
	return out
}

// split divides a run that has not been seen by what gaps tell of it.
func (l *links) split(m Missing) (missing []Missing, told []Told) {
	slices.SortStableFunc(l.given, func(a, b given) int { return compare(a.From, b.From) })
	next := m.From
	for _, g := range l.given {
		from, to := max(g.From, next), min(g.To, m.To)
		if from > to {
			continue
		}
		if from > next {
			missing = append(missing, Missing{m.Stream, next, from - 1})
		}
		if k := len(told) - 1; k >= 0 && told[k].To+1 == from && told[k].Reason == g.reason {
			told[k].To = to
		} else {
			told = append(told, Told{Missing{m.Stream, from, to}, g.reason})
		}
		if next = to + 1; to == m.To {
			return missing, told
		}
	}
	return append(missing, Missing{m.Stream, next, m.To}), told
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
