package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
)

// A card has a random id, so that its owner can tell it from another one in the
// same place. A wiped card has none until it is taken hold of again, as a new one.

const idLen = 16

// ID is the id of the card that is held; empty if it has none, as a card that
// can only be read may, and one whose id can't be read now.
func (s *Spool) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// readID reads the card's id, or gives it one.
func (s *Spool) readID() {
	path := filepath.Join(s.dir, dirIndex, "card")
	data, err := s.readAll(path, idLen+1)
	if err == nil && isID(string(data)) {
		s.setID(string(data))
		return
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have one
		s.log.Warn("the card's id can't be read", zap.Error(err))
		s.setID("")
		return
	}
	raw := make([]byte, idLen/2)
	rand.Read(raw)
	id := hex.EncodeToString(raw)
	err = s.removeAll(path)
	if err == nil {
		err = s.writeCopy(path, []byte(id))
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		s.log.Warn("the card gets no id", zap.Error(err))
		id = ""
	}
	s.setID(id)
}

func (s *Spool) setID(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
}

func isID(s string) bool { return len(s) == idLen && strings.Trim(s, "0123456789abcdef") == "" }

// leaving tells who wants to know that an object is about to be removed. The
// caller holds card.
func (s *Spool) leaving(name string) error {
	if s.cfg.Leaving == nil {
		return nil
	}
	return s.cfg.Leaving(name)
}
