package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// One bad sector ends nothing: what can't be read or removed of a card that works
// otherwise is left out for a while, and the owner is told.

// unreadableWait keeps what cannot be read out of the way of the others.
const unreadableWait = 10 * time.Minute

const (
	maxSpoiled = 4096 // of which is remembered that they are
	maxBad     = 8    // that one step leaves out: where more fail, it is the card
	maxTold    = 16   // lines in the log
)

var errSpoiled = errors.New("left out for now")

// leaveOut leaves a file, an object or a folder out for a while: what is returned is
// errSpoiled then. Failures that are not of this one alone are returned as they are.
func (s *Spool) leaveOut(path string, err error) error {
	for _, all := range []error{syscall.EROFS, fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, fs.ErrNotExist, ErrGone} {
		if errors.Is(err, all) {
			return err
		}
	}
	s.setAside(path, err)
	return fmt.Errorf("%w: %w", errSpoiled, err)
}

// setAside remembers what can't be used, for Stats, and for a while for isAside.
func (s *Spool) setAside(path string, err error) {
	s.mu.Lock()
	sum := nameSum(path)
	until, known := s.spoiled[sum]
	if now := time.Now(); !now.Before(until) && (known || len(s.spoiled) < maxSpoiled) {
		s.retryAt = now.Add(unreadableWait)
		s.spoiled[sum] = s.retryAt
	}
	s.spoiledWhy = fmt.Errorf("%s: %w", filepath.Base(path), err)
	told := len(s.spoiled)
	s.mu.Unlock()
	if !known && told <= maxTold {
		s.log.Warn("a part of the card can't be used", zap.String("path", path), zap.Error(err))
	}
}

// isAsideLocked tells whether a path is to be left out now. The caller holds mu.
func (s *Spool) isAsideLocked(path string) bool {
	return len(s.spoiled) > 0 && time.Now().Before(s.spoiled[nameSum(path)])
}

func (s *Spool) isAside(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isAsideLocked(path)
}

// retrySpoiled has the lanes read again, once what was left out may be tried again.
func (s *Spool) retrySpoiled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retryAt.IsZero() || time.Now().Before(s.retryAt) {
		return
	}
	s.retryAt = time.Time{}
	for t := range treeUploaded {
		s.refillLocked(t)
	}
	s.wakeLocked()
}

// spoiledLocked is what Stats tells of them. The caller holds mu.
func (s *Spool) spoiledLocked() error {
	if len(s.spoiled) == 0 {
		return nil
	}
	return fmt.Errorf("the card works, but %d of its files and folders can't be used; one of them: %w", len(s.spoiled), s.spoiledWhy)
}

// answers is nil if the card does: then it is not the card that fails. The folder
// is always there.
func (s *Spool) answers() error {
	_, err := s.fs.ReadDir(filepath.Join(s.dir, dirIndex))
	return err
}

// skip leaves a folder out that can't be read, and counts; an error says that it is
// the card that fails.
func (s *Spool) skip(path string, bad *int, err error) error {
	if *bad++; *bad > maxBad {
		return err
	}
	if err := s.leaveOut(path, err); !errors.Is(err, errSpoiled) {
		return err
	}
	return s.answers()
}
