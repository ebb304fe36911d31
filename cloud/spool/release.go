package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// The folders below the card's.
const (
	dirOpen     = "open"
	dirPending  = "pending"
	dirUploaded = "uploaded"
)

// openPath is the path of a clip being written, without endings.
func (s *Spool) openPath(name string) string { return filepath.Join(s.dir, dirOpen, name) }

func (s *Spool) pendingDir(it *item) string {
	return filepath.Join(s.dir, dirPending, it.home.String(), hourOf(it.name))
}

func (s *Spool) uploadedDir(it *item) string {
	return filepath.Join(s.dir, dirUploaded, hourOf(it.name))
}

// hourDir makes the item's folder, durably. The caller holds card.
func (s *Spool) hourDir(it *item) (string, error) {
	s.tidy()
	return s.makeDir(s.pendingDir(it))
}

func (s *Spool) makeDir(dir string) (string, error) {
	s.mu.Lock()
	known := s.made[dir]
	s.mu.Unlock()
	if known {
		return dir, nil
	}
	err := s.fs.Mkdir(dir)
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		s.mu.Lock()
		s.made[dir] = true
		s.mu.Unlock()
	}
	return dir, err
}

// tidy removes hour folders that have become empty. The caller holds card.
func (s *Spool) tidy() {
	s.mu.Lock()
	dirs := s.emptied
	s.emptied = map[string]bool{}
	for dir := range dirs {
		delete(s.made, dir)
	}
	s.mu.Unlock()
	for dir := range dirs {
		s.fs.Remove(dir) // fails if it is not empty: then it stays
	}
}

// Release says that the store has confirmed all parts of o: they are kept while
// there is room, and evicted first, together. After an error o counts as
// confirmed all the same; only after a restart it would be offered again, and
// found in the store.
func (s *Spool) Release(o Object) error {
	s.mu.Lock()
	it := s.x.byName[o.Name]
	s.mu.Unlock()
	if it == nil || it.uploaded {
		return nil
	}
	s.card.Lock()
	defer s.card.Unlock()
	err := s.moveUploaded(it)
	s.mu.Lock()
	if s.x.byName[it.name] == it { // not wiped meanwhile
		s.x.confirm(it)
		if errors.Is(s.st.Err, ErrFull) {
			s.st.Err = nil // there is something to evict again
		}
		s.wakeLocked()
	}
	s.mu.Unlock()
	if err != nil {
		return s.note(fmt.Errorf("releasing %s: %w", it.name, cardError("moving it", err)))
	}
	return nil
}

// moveUploaded moves the item's files. The caller holds card.
func (s *Spool) moveUploaded(it *item) error {
	from := s.pendingDir(it)
	to, err := s.makeDir(s.uploadedDir(it))
	for _, name := range it.files() {
		if err == nil {
			err = s.fs.Rename(filepath.Join(from, name), filepath.Join(to, name))
		}
	}
	if err == nil {
		err = errors.Join(s.fs.SyncDir(to), s.fs.SyncDir(from))
	}
	s.markEmptied(from, it)
	return err
}

// markEmptied lets tidy look at a folder, unless it is the newest hour's, which
// would be made again for the next clip.
func (s *Spool) markEmptied(dir string, it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hourOf(it.name) < s.newest {
		s.emptied[dir] = true
	}
}

// reserve counts n bytes as used, evicting uploaded objects until they fit, or
// says why they don't.
func (s *Spool) reserve(n int64, gen uint64) error {
	if err := s.held(); err != nil {
		return err
	}
	for {
		fits, err := s.tryReserve(n, gen)
		if err != nil || fits {
			return s.noted(err)
		}
		if err := s.evict(); err != nil {
			return s.noted(err)
		}
	}
}

func (s *Spool) noted(err error) error {
	if err != nil && !errors.Is(err, errClosed) && !errors.Is(err, errWiped) && !errors.Is(err, errReplaced) && !errors.Is(err, errLetGo) {
		return s.note(err)
	}
	return err
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
	if s.credit < n || s.credit == 0 {
		return false, nil
	}
	// n is 0 when a file begins: then at least one more byte must fit.
	if s.cfg.MaxBytes > 0 && s.used+max(n, 1) > s.cfg.MaxBytes {
		return false, nil
	}
	s.credit -= n
	s.used += n
	return true, nil
}

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
	s.credit = min(max(0, free-s.cfg.MinFree), creditStep+n)
	s.mu.Unlock()
	return nil
}

// evict removes the oldest uploaded object; ErrFull if there is none. It takes
// no lock of the card: nobody else touches uploaded files.
func (s *Spool) evict() error {
	s.mu.Lock()
	if len(s.x.uploaded) == 0 {
		s.mu.Unlock()
		return fmt.Errorf("%w: nothing left that is already in the store", ErrFull)
	}
	it, gen := s.x.uploaded[0], s.gen
	s.x.drop(it)
	s.mu.Unlock()

	up, down := s.uploadedDir(it), s.pendingDir(it)
	var paths []string
	for _, name := range it.files() {
		// A failed Release may have left some of them behind.
		paths = append(paths, filepath.Join(up, name), filepath.Join(down, name))
	}
	err := s.removeAll(paths...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen { // wiped meanwhile
		return nil
	}
	if err != nil {
		s.x.add(it)
		return cardError("evicting "+it.name, err)
	}
	s.used -= it.bytes()
	s.credit = 0
	s.st.Evicted++
	s.emptied[up] = true
	return nil
}

// removeAll removes files that may be there; the first failure ends it.
func (s *Spool) removeAll(paths ...string) error {
	for _, p := range paths {
		if err := s.fs.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Pending tells whether an object of that name still waits for its release.
func (s *Spool) Pending(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.x.byName[name]
	return it != nil && !it.uploaded
}

// Open opens a file of a clip, or a single object, for reading, wherever it lies.
// fs.ErrNotExist if there is none.
func (s *Spool) Open(name string) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	it := s.x.byName[name]
	if it == nil {
		it = s.x.byName[stemOf(name)]
	}
	s.mu.Unlock()
	if it == nil || !slices.Contains(it.files(), name) {
		return nil, fmt.Errorf("%.64q on the card: %w", name, fs.ErrNotExist)
	}
	f, err := s.fs.Open(filepath.Join(s.pendingDir(it), name))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fs.Open(filepath.Join(s.uploadedDir(it), name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = s.note(cardError("opening "+name, err))
	}
	return f, err
}

// Has tells whether an object of that name is on the card, committed.
func (s *Spool) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.x.byName[name] != nil
}

// Dropped lists clips that were given up before the store had them, oldest
// first, at most 1000 at once; they are listed again until Forget.
func (s *Spool) Dropped() ([]Dropped, error) { return nil, nil }

// Forget says that a gap record that tells of these dropped clips is on the card.
func (s *Spool) Forget(names ...string) error { return nil }

// Retain removes what is older than MaxAge; call it now and then.
func (s *Spool) Retain() error { return nil }

// List returns objects, newest first; the last name is the next page's Before.
func (s *Spool) List(q Query) ([]Entry, error) {
	before, limit := q.Before, q.Limit
	if limit <= 0 {
		limit = 1000
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*item
	for _, it := range s.x.byName {
		start, _ := startOf(it.name)
		if (before == "" || it.name < before) && (q.From.IsZero() || !start.Before(q.From)) && (q.To.IsZero() || start.Before(q.To)) {
			list = append(list, it)
		}
	}
	slices.SortFunc(list, func(a, b *item) int { return strings.Compare(b.name, a.name) })
	var out []Entry
	for _, it := range list[:max(0, min(limit, len(list)))] {
		out = append(out, Entry{Name: it.name, Size: it.bytes(), Uploaded: it.uploaded})
	}
	return out, nil
}

// Stats returns the state of the card; it never waits for the card.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Pending, st.PendingBytes = s.x.pendingCount(), s.x.waiting
	st.Oldest = s.x.oldest()
	st.Uploaded = len(s.x.uploaded)
	st.UsedBytes = s.used
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
	err := errors.Join(s.removeTree(filepath.Join(s.dir, dirOpen)), s.removeTree(filepath.Join(s.dir, dirPending)), s.removeTree(filepath.Join(s.dir, dirUploaded)))
	err = errors.Join(err, s.fs.SyncDir(s.dir), s.makeLayout())
	if err != nil {
		return s.note(cardError("wiping the card", err))
	}
	s.log.Info("card wiped")
	return nil
}

// removeTree removes a folder and what is in it.
func (s *Spool) removeTree(dir string) error {
	entries, err := s.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = errors.Join(err, s.removeTree(path))
		} else {
			err = errors.Join(err, s.removeAll(path))
		}
	}
	return errors.Join(err, s.removeAll(dir))
}

// logRecovery tells once what was found.
func (s *Spool) logRecovery() {
	s.log.Info("card ready", zap.Int("pending", s.x.pendingCount()), zap.Int("uploaded", len(s.x.uploaded)),
		zap.Int64("bytes", s.used), zap.Int("removed", s.st.Removed), zap.Int("finished", s.st.Finished))
}
