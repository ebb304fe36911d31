package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Release says that the store has confirmed all parts of o: they are kept while
// there is room, and given up first, together. After an error o counts as
// confirmed all the same; only after a restart it would be offered again, and
// found in the store.
func (s *Spool) Release(o Object) error {
	if err := s.held(); err != nil {
		return fmt.Errorf("releasing %s: %w", o.Name, err)
	}
	s.card.Lock()
	defer s.card.Unlock()
	it, err := s.waiting(o.Name)
	if it == nil && err == nil && checkClip(o.Name) == nil {
		// It was given up while it was sent: the store has it, so nothing is missing.
		if was, err := s.forget(o.Name); err != nil || !was {
			return err
		}
		return cardError("forgetting "+o.Name, s.fs.SyncDir(s.hourPath(treeDropped, o.Name)))
	}
	if it == nil || err != nil {
		return err
	}
	err = s.moveUploaded(it)
	s.mu.Lock()
	s.x.drop(it)
	if err == nil {
		s.count(int(it.home), -1, it.name, it.files(), it.bytes())
		s.arrive(treeUploaded, it)
	} else {
		s.released[nameSum(it.name)] = true
	}
	if errors.Is(s.st.Err, ErrFull) {
		s.st.Err = nil // there is something to give up again
	}
	s.wakeLocked()
	s.mu.Unlock()
	if err != nil {
		s.recount(int(it.home), hourOf(it.name))
		s.recount(treeUploaded, hourOf(it.name))
		return s.note(fmt.Errorf("releasing %s: %w", it.name, cardError("moving it", err)))
	}
	return nil
}

// waiting finds an object that waits, in memory or on the card; nil if there is
// none. The caller holds card.
func (s *Spool) waiting(name string) (*item, error) {
	s.mu.Lock()
	it := s.x.byName[name]
	s.mu.Unlock()
	if it != nil || s.wasReleased(name) || checkClip(name) != nil && checkSingle(name) != nil {
		return it, nil
	}
	for t := range treeUploaded {
		if !s.has(t, name) {
			continue
		}
		entries, err := s.readHour(t, hourOf(name), nil)
		if err != nil {
			return nil, s.note(cardError("looking for "+name, err))
		}
		for _, e := range entries {
			if e.name == name {
				it, err := e.item(t)
				return it, cardError("looking at "+name, err)
			}
		}
	}
	return nil, nil
}

// has tells whether a tree holds an object, by its file.
func (s *Spool) has(t int, name string) bool {
	if isClip(name) {
		name += extClip
	}
	st, err := s.fs.Stat(filepath.Join(s.hourPath(t, name), name))
	return err == nil && st.Mode().IsRegular()
}

// moveUploaded moves the item's files. The caller holds card.
func (s *Spool) moveUploaded(it *item) error {
	from, to := s.pendingDir(it), s.hourPath(treeUploaded, it.name)
	err := s.makeDir(to)
	for _, name := range it.files() {
		if err == nil {
			err = s.rename(filepath.Join(from, name), filepath.Join(to, name))
		}
	}
	if err == nil {
		err = errors.Join(s.fs.SyncDir(to), s.fs.SyncDir(from))
	}
	return err
}

// Pending tells whether an object of that name still waits for its release.
func (s *Spool) Pending(name string) bool {
	return !s.wasReleased(name) && s.find(name, treeUploaded) >= 0
}

// Has tells whether an object of that name is on the card: committed, uploaded
// or not, not given up, and nobody else's.
func (s *Spool) Has(name string) bool {
	t := s.find(name, treeDropped)
	if t < 0 {
		return false
	}
	foreign, err := s.isForeign(t, name)
	return err == nil && !foreign
}

// find tells in which of the first trees an object lies, -1: in none. What moves
// meanwhile is not missed, because it moves from them to the later ones.
func (s *Spool) find(name string, upTo int) int {
	s.mu.Lock()
	it, absent := s.x.byName[name], s.absent != nil
	s.mu.Unlock()
	switch {
	case absent:
		return -1
	case it != nil:
		return int(it.home)
	case checkClip(name) != nil && checkSingle(name) != nil:
		return -1
	}
	for t := range upTo {
		if s.has(t, name) {
			return t
		}
	}
	return -1
}

// Open opens a file of a clip, or a single object, for reading, wherever it lies.
// fs.ErrNotExist if there is none, or if it is somebody else's.
func (s *Spool) Open(file string) (io.ReadSeekCloser, error) {
	if err := s.held(); err != nil {
		return nil, err
	}
	name, kind := sortName(file)
	none := fmt.Errorf("%.64q on the card: %w", file, fs.ErrNotExist)
	if kind != kindFile && kind != kindManifest {
		return nil, none
	}
	for t := range treeDropped {
		f, err := s.fs.Open(filepath.Join(s.hourPath(t, file), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, errOdd) { // the file's real place may be another one
			none = fmt.Errorf("%.64q on the card: %w", file, err)
			continue
		}
		foreign := false
		if err == nil {
			foreign, err = s.isForeign(t, name)
		}
		if err == nil && !foreign {
			return f, nil
		}
		if f != nil {
			f.Close()
		}
		if err != nil {
			return nil, s.note(cardError("opening "+file, err))
		}
		return nil, none
	}
	return nil, none
}

// Stats returns the state of the card; it never waits for the card.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Pending, st.PendingBytes = s.x.waiting()
	st.Oldest = s.x.oldest()
	st.Uploaded = s.x.trees[treeUploaded].n
	st.UsedBytes, st.Foreign, st.Spoiled = s.used, s.foreignLocked(), s.spoiledLocked()
	return st
}

// Wipe removes every object, uploaded or not: unbinding. Open Files fail from
// then on. It can be repeated after a power cut.
func (s *Spool) Wipe() error {
	if err := s.held(); err != nil {
		return fmt.Errorf("wiping the card: %w", err)
	}
	s.card.Lock()
	defer s.card.Unlock()
	s.mu.Lock()
	s.forgetAll(errWiped)
	s.wakeLocked()
	s.mu.Unlock()
	var err error
	for _, dir := range []string{dirOpen, dirPending, dirUploaded, dirDropped, dirIndex} {
		err = errors.Join(err, s.removeTree(filepath.Join(s.dir, dir)))
	}
	err = errors.Join(err, s.fs.SyncDir(s.dir), s.makeLayout())
	if err != nil {
		return s.note(cardError("wiping the card", err))
	}
	s.log.Info("card wiped")
	return nil
}
