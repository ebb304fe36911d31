package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// maxManifest bounds what is read of a file that should be a manifest: no statement
// is larger.
const maxManifest = cloud.MaxMessage

// drop removes a clip that waits, and keeps its manifest. The clip goes first:
// that makes room for the copy on a card that is full. The manifest is copied
// and not renamed: a FAT may lose a name that is moved. The caller holds card.
func (s *Spool) drop(t int, it *item) error {
	from := filepath.Join(s.hourPath(t, it.name), it.name)
	manifest, err := s.readAll(from+extManifest, maxManifest)
	if err != nil {
		return err
	}
	if err := s.removeAll(from + extClip); err != nil {
		return err
	}
	dir := s.hourPath(treeDropped, it.name)
	to := filepath.Join(dir, it.name+extManifest)
	if err := errors.Join(s.fs.Mkdir(dir), s.removeAll(to)); err != nil {
		return err
	}
	if err := s.writeCopy(to, manifest); err != nil {
		return err
	}
	if err := errors.Join(s.fs.SyncDir(dir), s.fs.SyncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	err = s.removeAll(from + extManifest)
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(from))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(treeDropped, 1, it.name, []string{it.name + extManifest}, int64(len(manifest)))
	return nil
}

// writeCopy writes a new file and syncs it. It gives nothing up: that is what it
// is for.
func (s *Spool) writeCopy(path string, data []byte) error {
	w, err := s.fs.Create(path)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

func (s *Spool) readAll(path string, limit int64) ([]byte, error) {
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return data, errors.Join(err, f.Close())
}

// What Dropped lists at once.
const (
	maxDropped      = 1000
	maxDroppedBytes = 1 << 20
)

// Dropped lists clips that were given up before the store had them, oldest
// first, at most 1000 or about 1 MiB at once; they are listed again until Forget. What
// another camera, or this one for another owner, has signed is left out: its own
// camera tells of it. R2: the owner is told of them by a signed gap.
func (s *Spool) Dropped() ([]Dropped, error) {
	if err := s.held(); err != nil {
		return nil, err
	}
	s.card.Lock()
	defer s.card.Unlock()
	owner := s.askOwner()
	s.mu.Lock()
	hours := slices.Clone(s.x.trees[treeDropped].hours)
	s.mu.Unlock()
	var out []Dropped
	size, bad := 0, 0
	for _, h := range hours {
		if h.whose == others {
			continue
		}
		foreign := 0
		entries, err := s.readHour(treeDropped, h.name, nil)
		if err != nil {
			err = s.skip(s.hourDirOf(treeDropped, h.name), &bad, err)
		}
		for _, e := range entries {
			path := filepath.Join(s.hourPath(treeDropped, e.name), e.name+extManifest)
			if err != nil || s.isAside(path) {
				continue
			}
			var manifest []byte
			manifest, err = s.readAll(path, maxManifest+1)
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
				continue
			}
			if err != nil {
				err = s.skip(path, &bad, err)
				continue
			}
			if s.cfg.Owner != nil && !isOf(owner, manifest) {
				foreign++
				continue
			}
			if out = append(out, Dropped{e.name, manifest}); len(out) == maxDropped {
				return out, nil
			}
			if size += len(manifest); size >= maxDroppedBytes {
				return out, nil
			}
		}
		if err != nil {
			return nil, s.note(cardError("reading what was dropped", err))
		}
		if foreign > 0 && foreign == len(entries) {
			s.settleWhose(treeDropped, h.name, entries, foreign, owner)
		}
	}
	return out, nil
}

// isOf tells whether what lies in dropped/ may be the owner's: what is no statement is
// nobody's, and larger than one none of ours.
func isOf(owner Owner, manifest []byte) bool {
	head, ok := StatementOf(manifest)
	return len(manifest) <= maxManifest && (!ok || head.Serial == owner.Serial && head.BindID == owner.BindID)
}

// Forget says that a gap record that tells of these dropped clips is on the card.
func (s *Spool) Forget(names ...string) error {
	if err := s.held(); err != nil {
		return err
	}
	s.card.Lock()
	defer s.card.Unlock()
	dirs := map[string]bool{}
	for _, name := range names {
		if err := checkClip(name); err != nil {
			return err
		}
		was, err := s.forget(name)
		if err != nil {
			return err
		}
		if was {
			dirs[s.hourPath(treeDropped, name)] = true
		}
	}
	for dir := range dirs {
		if err := s.fs.SyncDir(dir); err != nil {
			return s.note(cardError("forgetting", err))
		}
	}
	return nil
}

// forget removes a manifest from dropped/, if it is there. The caller holds card,
// and syncs the folder.
func (s *Spool) forget(name string) (was bool, err error) {
	path := filepath.Join(s.hourPath(treeDropped, name), name+extManifest)
	info, err := s.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = s.fs.Remove(path)
	}
	if err != nil {
		return false, s.note(cardError("forgetting "+name, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(treeDropped, -1, name, []string{name + extManifest}, info.Size())
	return true, nil
}

// Retain removes what is older than MaxAge, uploaded or not, but for gap records
// that wait, and what waits and was named by a clock that was not set; call it now
// and then, and after a change of the clock.
func (s *Spool) Retain() error {
	if err := s.held(); err != nil {
		return err
	}
	s.mu.Lock()
	s.credit = 0 // others write to the card, too
	s.mu.Unlock()
	now := s.cfg.Now()
	if s.cfg.MaxAge <= 0 || now.IsZero() {
		return nil
	}
	last := cloud.ClipTime(now.Add(-s.cfg.MaxAge).UTC())
	for t := range treeDropped {
		for {
			more, err := s.retire(t, last)
			if err != nil {
				return s.note(fmt.Errorf("removing what is older than %s: %w", s.cfg.MaxAge.Round(time.Hour), err))
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// retire removes the oldest object of a tree if it began before last. One that is
// on its way to the store is let go there.
func (s *Spool) retire(t int, last string) (bool, error) {
	s.card.Lock()
	defer s.card.Unlock()
	old := func(name string) bool { return name < last && s.ages(t, name) && !s.lent(name) }
	step := choice{t, old, func(h hour) bool { return h.name <= hourOf(last) }}
	for bad := 0; ; bad++ {
		found, err := s.removeOne(step)
		if err == nil || bad >= maxBad || !errors.Is(err, errSpoiled) {
			return found, cardError("removing what is old", err)
		}
	}
}
