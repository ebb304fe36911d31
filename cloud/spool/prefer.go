package spool

import (
	"errors"
	"io/fs"
	"slices"
	"time"
)

// Prefer has a clip that waits uploaded before the other routine ones, behind
// alarms and behind what was preferred earlier. It holds until the next start.
// waits is false if no such clip waits: it is uploaded, not on the card,
// or somebody else's.
func (s *Spool) Prefer(name string) (waits bool, err error) {
	if err := s.held(); err != nil {
		return false, err
	}
	if checkClip(name) != nil || s.wasReleased(name) {
		return false, nil
	}
	t := s.find(name, treeUploaded)
	if t < 0 {
		return false, nil
	}
	if foreign, err := s.isForeign(t, name); foreign || err != nil {
		return false, s.noted(cardError("looking at "+name, err))
	}
	s.card.Lock()
	defer s.card.Unlock()
	if s.preferKnown(name) {
		return true, nil
	}
	for t := range treeUploaded {
		entries, err := s.readHour(t, hourOf(name), nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, s.note(cardError("looking for "+name, err))
		}
		i := slices.IndexFunc(entries, func(e entry) bool { return e.name == name })
		if i < 0 {
			continue
		}
		if _, err := s.fillOne(Lane(t), t, entries[i]); err != nil {
			return false, s.note(cardError("looking for "+name, err))
		}
		return s.preferKnown(name), nil
	}
	return false, nil
}

// preferKnown puts an item that is in memory to the front of its lane.
func (s *Spool) preferKnown(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.x.byName[name]
	if it == nil {
		return false
	}
	if it.lane >= Routine && !it.lent && len(s.x.lanes[Routine].items) < maxAside { // R6
		s.x.drop(it)
		it.lane, it.first = Routine, true
		s.x.byName[name], it.ready = it, time.Time{}
		l := &s.x.lanes[Routine]
		i := slices.IndexFunc(l.items, func(other *item) bool { return !other.first })
		if i < 0 {
			i = len(l.items)
		}
		l.items = slices.Insert(l.items, i, it)
	}
	s.wakeLocked()
	return true
}
