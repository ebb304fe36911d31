package spool

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// What was named while the clock could not be trusted may be younger than its
// name says, by years: it does not age before the store has it. A mark in index/
// tells of each hour in which there is any; it has no bytes that could be lost.

const unsurePrefix = "unsure-"

func (s *Spool) unsurePath(hour string) string {
	return filepath.Join(s.dir, dirIndex, unsurePrefix+hour)
}

// markUnsure makes the mark of an hour durable if the clock can't be trusted now.
// The caller holds card.
func (s *Spool) markUnsure(hour string) error {
	s.mu.Lock()
	known := s.unsure[hour]
	s.mu.Unlock()
	if known || !s.cfg.Now().IsZero() {
		return nil
	}
	w, err := s.create(s.unsurePath(hour))
	if err == nil {
		err = w.Close()
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Join(s.dir, dirIndex))
	}
	if err == nil {
		s.mu.Lock()
		s.unsure[hour] = true
		s.mu.Unlock()
	}
	return cardError("marking that the clock is not set", err)
}

// readUnsure reads the marks, and removes those of hours in which nothing waits
// any more.
func (s *Spool) readUnsure() error {
	files, err := s.fs.ReadDir(filepath.Join(s.dir, dirIndex))
	if err != nil {
		return err
	}
	for _, f := range files {
		hour, ok := strings.CutPrefix(f.Name(), unsurePrefix)
		if !ok || !isHour(hour) {
			continue
		}
		if !s.waitsIn(hour) {
			err = errors.Join(err, s.removeAll(s.unsurePath(hour)))
			continue
		}
		s.unsure[hour] = true
	}
	return err
}

// waitsIn tells whether anything of an hour waits, or was left open.
func (s *Spool) waitsIn(hour string) bool {
	for i := range s.x.trees[:treeUploaded] {
		if s.x.trees[i].at(hour).n > 0 {
			return true
		}
	}
	for name := range s.open {
		if hourOf(name) == hour {
			return true
		}
	}
	return false
}

// ages tells whether the age of an object of a tree is certain enough to remove it.
func (s *Spool) ages(t int, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t == treeUploaded || !isGap(name) && !s.unsure[hourOf(name)]
}
