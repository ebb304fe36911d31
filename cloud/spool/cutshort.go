package spool

import (
	"errors"
	"fmt"
	"path/filepath"
)

// CommitOrLeave is Commit, but that an error does not give the clip up: it is left
// as by Leave.
func (f *File) CommitOrLeave(lane Lane, manifest []byte) (Object, error) {
	if f.err != nil {
		return Object{}, f.err
	}
	if len(manifest) == 0 || lane != Alarm && lane != Routine {
		return Object{}, fmt.Errorf("commit: a manifest of %d bytes to lane %s", len(manifest), lane)
	}
	f.it.lane, f.it.home = lane, lane
	o, err := f.commit(manifest)
	if err != nil {
		err = f.s.noted(fmt.Errorf("closing clip %s: %w", f.it.name, err))
		return Object{}, errors.Join(err, f.Leave())
	}
	f.err = errClosed
	return o, nil
}

// Leave ends a clip where it is, also after an error: what is below open/ stays
// there, and is one of Unfinished, as after a cut. If the card is not held any
// more, or if there is an error, it is so after the next Attach that takes hold of
// the card; unless that finds the whole clip with its manifest, and finishes its
// commit. After a Commit or Abort it does nothing.
func (f *File) Leave() error {
	if errors.Is(f.err, errClosed) {
		return nil
	}
	f.err = errClosed
	f.closeFiles()
	f.s.card.Lock()
	defer f.s.card.Unlock()
	if f.s.live(f.gen) != nil {
		return nil
	}
	u, it, err := f.s.retreat(f.it)
	if err != nil {
		f.s.abandon(f.it, f.gen)
		return f.s.noted(cardError("leaving "+f.it.name, err))
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.gen == f.gen {
		f.s.used += it.bytes() - f.it.bytes()
		f.s.open[u.Name], f.s.left[u.Name] = it, u
	}
	return nil
}

// retreat undoes what there is of a commit, the manifest first: with it, recovery
// would take the rest for a closed clip. The caller holds card.
func (s *Spool) retreat(was *item) (*Unfinished, *item, error) {
	from := s.openPath(was.name)
	if was.home != Snapshot { // its commit was begun
		dir := s.pendingDir(was)
		path := filepath.Join(dir, was.name)
		err := s.removeAll(path+extManifest, path+extManifest+extTmp)
		if _, gone := s.fs.Stat(path + extClip); err == nil && gone == nil {
			if err = s.rename(path+extClip, from+extClip+extPart); err == nil {
				err = errors.Join(s.fs.SyncDir(dir), s.fs.SyncDir(filepath.Dir(from)))
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	st, err := s.fs.Stat(from + extClip + extPart)
	if err != nil {
		return nil, nil, err
	}
	journal, err := s.fs.Stat(from + extNotes)
	if err != nil {
		return nil, nil, err
	}
	return &Unfinished{Name: was.name, Size: st.Size()}, &item{name: was.name, size: st.Size(), manifest: -1, notes: journal.Size()}, nil
}
