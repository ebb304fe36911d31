package verify

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// follow puts all statements into the chain, and tells what is missing from it.
func (r *checking) follow() {
	r.sortAll()
	for _, k := range r.clips {
		r.contradict(k.Stream, k.Sequence, r.chain.Add(k.Clip))
	}
	for _, g := range r.gaps {
		r.contradict(g.Stream, g.Sequence, r.chain.AddGap(g.Gap))
		r.tellSpan(g)
	}
	streams := r.chain.Streams()
	heads := slices.Concat(slices.Collect(maps.Keys(r.Heads)), slices.Collect(maps.Keys(r.Seen)))
	slices.Sort(heads)
	for _, s := range slices.Compact(heads) {
		if !slices.Contains(streams, s) {
			streams = append(streams, s)
		}
	}
	for _, s := range streams {
		r.line(s)
	}
	if r.Heads == nil {
		r.note("whether newer ones are missing can't be told: only the camera knows where its chains end")
	}
}

func (r *checking) contradict(stream string, n uint64, faults []string) {
	for _, text := range faults {
		r.report.Faults = append(r.report.Faults, Fault{Kind: KindOrder, Stream: stream, From: n, To: n, Text: text})
	}
}

// tellSpan tells of a gap in time: nothing was recorded, so no number is missing.
func (r *checking) tellSpan(g seenGap) {
	if len(g.Missing) > 0 {
		return
	}
	text := fmt.Sprintf("%s: nothing recorded: %s", g.Stream, spanText(g.Reason))
	if g.told.From != "" {
		text = fmt.Sprintf("%s: nothing recorded from %s to %s: %s", g.Stream, g.told.From, g.told.To, spanText(g.Reason))
	}
	r.report.GivenUp = append(r.report.GivenUp, GivenUp{Stream: g.Stream, Reason: g.Reason, Begin: g.told.From, End: g.told.To, Text: text})
}

// spanText says why nothing was recorded.
func spanText(reason cloud.GapReason) string {
	if reason == cloud.GapCard {
		return "the card was full, gone, read-only or too slow"
	}
	return ReasonText(reason)
}

// line tells what is missing in one stream.
func (r *checking) line(stream string) {
	first, last := r.chain.Ends(stream)
	l := Line{Stream: stream, First: first, Last: last, Begin: first == 1 || r.All}
	from, to := first, last
	if r.All {
		from = 1
	} else if first > 1 {
		r.note("%s begins here with number %d: what was signed before is not here", stream, first)
	}
	head, known := r.Heads[stream]
	if known {
		l.End = true
		to = max(to, head.Sequence)
	}
	seen := r.Seen[stream]
	to = max(to, seen.Sequence)
	missing, told := r.chain.MissingIn(stream, max(1, from), to)
	r.tellMissing(missing)
	for _, t := range told {
		r.report.GivenUp = append(r.report.GivenUp, GivenUp{Stream: stream, From: t.From, To: t.To, Reason: t.Reason, Text: t.String()})
	}
	if known && head.Sequence < seen.Sequence {
		r.contradict(stream, seen.Sequence, []string{fmt.Sprintf("%s: the camera says that its chain ends with clip %d, and has said %d before: its numbers were lost",
			stream, head.Sequence, seen.Sequence)})
	}
	for _, h := range slices.Compact([]Head{head, seen}) {
		if hash := r.chain.Hash(stream, h.Sequence); hash != "" && hash != h.Hash {
			r.contradict(stream, h.Sequence, []string{fmt.Sprintf("%s: clip %d is another one than the camera says", stream, h.Sequence)})
		}
	}
	r.report.Lines = append(r.report.Lines, l)
}

// tellMissing tells what is neither here nor given up.
func (r *checking) tellMissing(missing []Missing) {
	for _, m := range missing {
		r.report.Faults = append(r.report.Faults, Fault{Kind: KindMissing, Stream: m.Stream, From: m.From, To: m.To, Text: m.String()})
		for _, l := range r.chain.Lost(m) {
			r.note("%s: the card no longer held it when the camera looked, and the camera had not given it up: the card has failed, or somebody has taken it", l)
		}
	}
}

// frames tells which frames of one run of the camera are in two clips, or in none
// although all were to be recorded.
func (r *checking) frames() {
	last := map[string]*seen{} // by stream and boot: the one that ends with the highest frame
	closed := 0
	order := make([]*seen, len(r.clips))
	for i := range r.clips {
		order[i] = &r.clips[i]
	}
	// A clip that failed, or was cut, may get its number after later ones.
	slices.SortStableFunc(order, func(a, b *seen) int { return compare(a.told.FirstFrame, b.told.FirstFrame) })
	for _, k := range order {
		if !k.opened {
			closed++
			continue
		}
		if k.told.LastFrame == 0 && k.told.Frames > 1 {
			continue // of a camera that did not tell it yet
		}
		key := k.Stream + " " + k.told.Boot
		if before := last[key]; before != nil && before.Sequence != k.Sequence {
			r.compare(before, k)
		}
		if last[key] == nil || k.told.LastFrame >= last[key].told.LastFrame {
			last[key] = k
		}
	}
	if closed > 0 {
		r.note("%d clips are sealed to others: their frames are not compared", closed)
	}
}

func (r *checking) compare(a, b *seen) {
	next := a.told.LastFrame + 1
	if b.told.FirstFrame < next {
		r.contradict(b.Stream, b.Sequence, []string{fmt.Sprintf("%s: frames %d to %d are in clip %d and in clip %d",
			b.Stream, b.told.FirstFrame, min(a.told.LastFrame, b.told.LastFrame), a.Sequence, b.Sequence)})
		return
	}
	if b.told.FirstFrame > next && together(a.told, b.told) && !a.told.Cut && !r.explained(a, b) {
		why := "the board may have lost them"
		if a.told.Event == "" && a.told.Trigger != "continuous" {
			why = "nothing was to be recorded, or the board has lost them"
		}
		r.note("%s: frames %d to %d, between clips %d and %d, are in no clip: %s",
			b.Stream, next, b.told.FirstFrame-1, a.Sequence, b.Sequence, why)
	}
}

// together tells whether all that lies between two clips should be in them, as far
// as their word goes: between two events nothing is recorded.
func together(a, b cloud.ClipDetails) bool {
	if a.Event != "" || b.Event != "" {
		return a.Event == b.Event
	}
	return a.Trigger == b.Trigger
}

// explained tells whether what is between two clips is missing from the store, or
// a gap tells of its time.
func (r *checking) explained(a, b *seen) bool {
	for n := min(a.Sequence, b.Sequence) + 1; n < max(a.Sequence, b.Sequence); n++ {
		if r.chain.Hash(a.Stream, n) == "" {
			return true
		}
	}
	begin, err1 := time.Parse(time.RFC3339, a.told.Started)
	end, err2 := time.Parse(time.RFC3339, b.told.Started)
	if err1 != nil || err2 != nil {
		return true
	}
	return slices.ContainsFunc(r.gaps, func(g seenGap) bool {
		from, err1 := time.Parse(time.RFC3339, g.told.From)
		to, err2 := time.Parse(time.RFC3339, g.told.To)
		return g.Stream == a.Stream && err1 == nil && err2 == nil && from.Before(end) && to.After(begin)
	})
}
