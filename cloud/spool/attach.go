package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
)

var (
	errReplaced = fmt.Errorf("%w: it was pulled while the clip was written", ErrGone)
	errLetGo    = fmt.Errorf("%w: it was let go", ErrGone)
	errWiped    = errors.New("the card was wiped while the clip was written")
)

var errNotLooked = fmt.Errorf("%w: it has not been looked at yet", ErrGone)

// New makes a Spool that holds no card yet: until Attach has succeeded nothing
// can be stored, and nothing is offered.
func New(dir string, cfg Config) *Spool {
	s := &Spool{
		dir: filepath.Clean(dir), card: make(turn, 1), cfg: cfg, fs: cfg.FS, log: cfg.Log, x: newIndex(), absent: errNotLooked,
		released: map[uint64]bool{}, foreign: map[uint64]bool{}, spoiled: map[uint64]time.Time{}, unsure: map[string]bool{}, open: map[string]*item{}, left: map[string]*Unfinished{}, made: map[string]bool{}, emptied: map[string]bool{}, changed: make(chan struct{}),
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	if s.fs == nil {
		s.fs = osFS{s.dir}
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	return s
}

// Open is New and Attach, for who can't do without a card.
func Open(dir string, cfg Config) (*Spool, error) {
	s := New(dir, cfg)
	if err := s.Attach(); err != nil {
		return nil, err
	}
	return s, nil
}

// Attach takes hold of the card and runs recovery. dir is created if its parent
// exists. While the folder is still the one that is held it does nothing, or
// makes its folders anew after a failure of kind ErrGone; so it may be called
// again and again. If another folder is in its place, that one is the card from
// now on, and open Files fail. Errors: ErrGone, ErrReadOnly, ErrFull, ErrBusy. R7.
func (s *Spool) Attach() error {
	s.card.Lock()
	defer s.card.Unlock()
	s.askOwner()
	s.retrySpoiled()
	s.mu.Lock()
	held, gone := s.lock != nil, errors.Is(s.st.Err, ErrGone)
	s.mu.Unlock()
	switch {
	case held && s.stillThere() && !gone:
		return nil
	case held && s.stillThere():
		return s.mend()
	case held:
		s.detach(fmt.Errorf("card %s: %w: another folder is in its place", s.dir, ErrGone))
	}
	fresh := New(s.dir, s.cfg)
	if err := fresh.takeCard(); err != nil {
		return s.refuse(err)
	}
	s.adopt(fresh)
	return nil
}

// AttachSoon is Attach, but that after some time it goes on without: a card that is
// slow, or has much to settle, holds up no start. Then the error is ErrGone, and the
// card is taken hold of when it is ready.
func (s *Spool) AttachSoon(wait time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- s.Attach() }()
	select {
	case err := <-done:
		return err
	case <-time.After(wait):
	}
	err := fmt.Errorf("%w: it has not answered within %s, and is still being looked at", ErrGone, wait)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		s.absent, s.st.Err = err, err
	}
	return err
}

func (s *Spool) takeCard() error {
	if err := s.takeHold(); err != nil {
		return fmt.Errorf("card %s: %w", s.dir, err)
	}
	if err := s.recover(); err != nil {
		s.lock.Close()
		return fmt.Errorf("card %s: recovery: %w", s.dir, err)
	}
	return nil
}

// takeHold checks that dir is the card, and locks it.
func (s *Spool) takeHold() error {
	parent := filepath.Dir(s.dir)
	if _, err := s.fs.Stat(parent); err != nil {
		return cardError("its parent folder", err)
	}
	if _, err := s.fs.Stat(s.dir); err != nil {
		if s.cfg.RequireMount {
			return fmt.Errorf("%w: nothing is mounted there: %w", ErrGone, err)
		}
		if err := errors.Join(s.fs.Mkdir(s.dir), s.fs.SyncDir(parent)); err != nil {
			return cardError("creating it", err)
		}
	}
	if s.cfg.RequireMount {
		same, err := s.fs.SameFS(s.dir, parent)
		if err != nil {
			return cardError("looking at it", err)
		}
		if same {
			return fmt.Errorf("%w: nothing is mounted there", ErrGone)
		}
	}
	lock, err := s.fs.Lock(s.dir)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	if err != nil {
		return cardError("locking it", err)
	}
	if s.folder, err = s.fs.Stat(s.dir); err != nil {
		lock.Close()
		return cardError("looking at it", err)
	}
	s.lock = lock
	return nil
}

// stillThere tells whether dir is the folder that is held: its number can't have
// been given to another one, because the lock keeps it in use.
func (s *Spool) stillThere() bool {
	now, err := s.fs.Stat(s.dir)
	return err == nil && os.SameFile(now, s.folder)
}

// mend puts back folders that someone has removed below a card that is there.
func (s *Spool) mend() error {
	s.mu.Lock()
	s.made = map[string]bool{}
	s.mu.Unlock()
	if err := s.makeLayout(); err != nil {
		return s.note(cardError("making its folders", err))
	}
	s.note(nil)
	return nil
}

// detach lets go of a card that is not there any more: Files that are open fail.
func (s *Spool) detach(why error) {
	s.mu.Lock()
	lock := s.lock
	s.lock, s.absent = nil, why
	s.forgetAll(why)
	s.wakeLocked()
	s.mu.Unlock()
	lock.Close() // of a folder that is gone: nothing depends on it
	s.log.Warn("card lost", zap.Error(why))
}

// forgetAll begins with an empty card; what was open belongs to another one. The
// caller holds mu.
func (s *Spool) forgetAll(why error) {
	s.gen++
	s.ended = why
	s.x, s.used, s.credit, s.released = newIndex(), 0, 0, map[uint64]bool{}
	s.foreign, s.unsure, s.id = map[uint64]bool{}, map[string]bool{}, ""
	s.spoiled, s.retryAt = map[uint64]time.Time{}, time.Time{}
	s.open, s.left, s.made, s.emptied = map[string]*item{}, map[string]*Unfinished{}, map[string]bool{}, map[string]bool{}
}

func (s *Spool) refuse(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent, s.st.Err = err, err
	return err
}

// adopt takes over what fresh has found. Nobody else knows fresh.
func (s *Spool) adopt(fresh *Spool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetAll(errReplaced)
	s.lock, s.folder, s.absent = fresh.lock, fresh.folder, nil
	s.x, s.used, s.emptied, s.open, s.left = fresh.x, fresh.used, fresh.emptied, fresh.open, fresh.left
	s.unsure, s.id = fresh.unsure, fresh.id
	s.spoiled, s.spoiledWhy, s.retryAt = fresh.spoiled, fresh.spoiledWhy, fresh.retryAt
	s.st.Err = nil
	s.st.Removed += fresh.st.Removed
	s.st.Finished += fresh.st.Finished
	s.wakeLocked()
}

// held is nil while the card is held, else the reason why it is not.
func (s *Spool) held() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.absent
}

// Close lets go of the card. Open Files fail from then on.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.gen++
	s.ended = errLetGo
	s.mu.Unlock()
	s.card.Lock()
	defer s.card.Unlock()
	s.mu.Lock()
	lock := s.lock
	s.mu.Unlock()
	if lock != nil && s.stillThere() {
		s.saveIndex()
	}
	s.mu.Lock()
	s.lock, s.absent = nil, errLetGo
	s.mu.Unlock()
	if lock == nil {
		return nil
	}
	return lock.Close()
}
