package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// reserve counts n bytes as used, giving up objects until they fit, or says why
// they don't.
func (s *Spool) reserve(n int64, gen uint64) error { return s.reserveWith(n, gen, s.makeRoom) }

func (s *Spool) reserveWith(n int64, gen uint64, room func() error) error {
	if err := s.held(); err != nil {
		return err
	}
	for {
		fits, err := s.tryReserve(n, gen)
		if err != nil || fits {
			return s.noted(err)
		}
		if err := room(); err != nil {
			return s.noted(err)
		}
	}
}

// noted remembers a failure that is the card's.
func (s *Spool) noted(err error) error {
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, errWiped) || errors.Is(err, errReplaced) || errors.Is(err, errLetGo) {
		return err
	}
	return s.note(err)
}

func (s *Spool) tryReserve(n int64, gen uint64) (bool, error) {
	if err := s.askFree(n); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen {
		return false, s.ended
	}
	// n is 0 when a file begins: then at least one more byte must fit.
	most := max(n, 1)
	var kept int64 // what may be given up
	for i := range s.x.trees[:treeDropped] {
		kept += s.x.trees[i].bytes
	}
	if s.cfg.MaxBytes > 0 && s.used-kept+most > s.cfg.MaxBytes {
		return false, fmt.Errorf("%w: what is being written exceeds the limit of %d bytes", ErrFull, s.cfg.MaxBytes)
	}
	if s.credit < most {
		if s.free+kept-s.cfg.MinFree < most {
			return false, fmt.Errorf("%w: %d bytes are free, and %d are to stay free", ErrFull, s.free, s.cfg.MinFree)
		}
		return false, nil
	}
	if s.cfg.MaxBytes > 0 && s.used+most > s.cfg.MaxBytes {
		return false, nil
	}
	s.credit -= n
	s.used += n
	return true, nil
}

// Between two looks at the free space at most creditMost bytes are written, and
// at most a quarter of what there is: others may write to the card, too, and
// files take more of it than their bytes.
const (
	creditMost  = 1 << 20
	creditLeast = 64 << 10
)

// askFree renews the credit of bytes that may be written, if it is used up.
func (s *Spool) askFree(n int64) error {
	s.mu.Lock()
	enough := s.credit > n
	s.mu.Unlock()
	if enough {
		return nil
	}
	free, err := s.fs.Free(s.dir)
	if err != nil {
		return cardError("asking for free space", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = free
	room := max(0, free-s.cfg.MinFree)
	s.credit = min(room, max(creditLeast, min(creditMost, room/4))+n)
	return nil
}

// makeRoom gives up one object. The caller does not hold card.
func (s *Spool) makeRoom() error {
	s.card.Lock()
	defer s.card.Unlock()
	return s.giveUp()
}

// maxSpared is how many objects are given up for one write or name that does not
// fit: if that has not helped, it is not room that the card lacks.
const maxSpared = 64

// withRoom repeats what fails because the card is full, although by our count it
// is not: names take room, too. The caller holds card.
func (s *Spool) withRoom(do func() error) error {
	for range maxSpared {
		err := do()
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		if err := s.giveUp(); err != nil {
			return err
		}
	}
	return do()
}

// choice is one step of the order in which objects are given up.
type choice struct {
	tree int
	take func(name string) bool
	hour func(hour) bool // can it hold one
}

// ladder is that order; within a step the oldest goes first.
var ladder = []choice{
	{treeUploaded, anything, anyHour},
	{int(Routine), isClip, hasClips},
	{int(Alarm), isClip, hasClips},
	{int(Snapshot), isPicture, hasSingles},
	{int(Routine), isPicture, hasSingles},
	{int(Alarm), isPicture, hasSingles},
	{int(Snapshot), isGap, hasSingles},
	{int(Routine), isGap, hasSingles},
	{int(Alarm), isGap, hasSingles},
}

func anything(string) bool       { return true }
func isPicture(name string) bool { return !isClip(name) && !isGap(name) }
func anyHour(hour) bool          { return true }
func hasClips(h hour) bool       { return h.clips > 0 }
func hasSingles(h hour) bool     { return h.n > h.clips }

// giveUp removes the object that can be spared most easily; ErrFull if there is
// none. One that the uploader holds goes only when its step has no other: else a
// slow uplink would never get one through. The caller holds card.
func (s *Spool) giveUp() error {
	var failed error
	for bad, i := 0, 0; i < len(ladder); {
		found, err := s.removeOne(ladder[i])
		if found && err == nil {
			return nil
		}
		if err == nil {
			i++
			continue
		}
		failed = cardError("giving up an object", err)
		if bad++; bad > maxBad || !errors.Is(err, errSpoiled) {
			return failed
		}
	}
	if failed != nil {
		return failed
	}
	return fmt.Errorf("%w: nothing is left to give up", ErrFull)
}

// removeOne removes the oldest object of a step; found is false if there is none.
// After an error of kind errSpoiled the next call finds another one.
func (s *Spool) removeOne(c choice) (found bool, err error) {
	e, err := s.spare(c)
	if err != nil || e.name == "" {
		return false, err
	}
	if err := s.remove(c.tree, e); err != nil {
		return true, fmt.Errorf("%s: %w", e.name, err)
	}
	return true, nil
}

// spare finds the oldest object of a step.
func (s *Spool) spare(c choice) (entry, error) {
	var lent entry
	for from := ""; ; {
		h, ok := s.nextHour(c, from)
		if !ok {
			return lent, nil
		}
		from = h.name + "\x00"
		entries, err := s.readHour(c.tree, h.name, nil)
		if err != nil {
			return entry{}, s.leaveOut(s.hourDirOf(c.tree, h.name), err)
		}
		if len(entries) == 0 { // somebody has removed them
			s.mu.Lock()
			s.used -= h.bytes
			s.x.trees[c.tree].set(hour{name: h.name})
			s.mu.Unlock()
		}
		owner, foreign := s.askOwner(), 0
		for _, e := range entries {
			path := filepath.Join(s.hourPath(c.tree, e.name), e.name)
			if !c.take(e.name) || s.isAside(path) {
				continue
			}
			if c.tree < treeUploaded {
				is, err := s.isForeign(c.tree, e.name)
				if err != nil {
					return entry{}, s.leaveOut(path, err)
				}
				if is {
					foreign++
					continue
				}
			}
			if !s.lent(e.name) {
				return e, nil
			}
			if lent.name == "" {
				lent = e
			}
		}
		if foreign == len(entries) {
			s.settleWhose(c.tree, h.name, entries, foreign, owner)
		}
	}
}

// nextHour finds the first hour of a step that is not before from. What waits in it
// is not somebody else's alone.
func (s *Spool) nextHour(c choice, from string) (hour, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.x.trees[c.tree].hours {
		if h.name >= from && c.hour(h) && (c.tree == treeUploaded || h.whose != others) && !s.isAsideLocked(s.hourDirOf(c.tree, h.name)) {
			return h, true
		}
	}
	return hour{}, false
}

func (s *Spool) lent(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.x.byName[name]
	return it != nil && it.lent
}

// remove removes an object. The manifest of a clip that the store does not have
// goes to dropped/. The caller holds card.
func (s *Spool) remove(t int, e entry) error {
	path := filepath.Join(s.hourPath(t, e.name), e.name)
	it, err := e.item(t)
	if err != nil {
		return s.leaveOut(path, err)
	}
	if err := s.leaving(e.name); err != nil {
		return err
	}
	s.mu.Lock()
	if known := s.x.byName[e.name]; known != nil && t != treeUploaded {
		s.x.drop(known)
	}
	s.mu.Unlock()
	stored := t == treeUploaded || s.wasReleased(e.name)
	switch {
	case stored:
		err = s.removeStored(e.name)
	case e.manifest != nil:
		err = s.drop(t, it)
	default:
		err = s.removeAll(filepath.Join(s.hourPath(t, e.name), e.files()[0]))
	}
	s.mu.Lock()
	s.credit = 0
	s.mu.Unlock()
	if err != nil {
		s.recount(t, hourOf(e.name))
		s.refill(t)
		return s.leaveOut(path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.spoiled, nameSum(path))
	s.count(t, -1, e.name, e.files(), it.bytes())
	if stored {
		s.st.Evicted++
	} else {
		s.st.Dropped++
		s.wakeLocked()
	}
	return nil
}

// refill lets a lane be read from the card again.
func (s *Spool) refill(t int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refillLocked(t)
}

func (s *Spool) refillLocked(t int) {
	switch {
	case t == int(Routine):
		s.x.lanes[Backfill].more = true
	case t < treeUploaded:
		s.x.lanes[t].more = true
	}
}

// removeStored removes what the store has. A failed Release may have left some
// of it behind.
func (s *Spool) removeStored(name string) error {
	files := []string{name}
	if isClip(name) {
		files = []string{name + extClip, name + extManifest}
	}
	for t := range treeDropped {
		for _, f := range files {
			if err := s.removeAll(filepath.Join(s.hourPath(t, f), f)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Spool) wasReleased(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released[nameSum(name)]
}
