package spool

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// The folders below the card's.
const (
	dirOpen     = "open"
	dirPending  = "pending"
	dirUploaded = "uploaded"
	dirDropped  = "dropped"
	dirIndex    = "index"
)

// treeDir is the folder of a tree, below the card's.
func treeDir(t int) string {
	switch t {
	case treeUploaded:
		return dirUploaded
	case treeDropped:
		return dirDropped
	}
	return filepath.Join(dirPending, Lane(t).String())
}

// hourPath is the folder in which an object of a tree lies.
func (s *Spool) hourPath(t int, name string) string {
	return filepath.Join(s.dir, treeDir(t), hourOf(name))
}

func (s *Spool) hourDirOf(t int, hour string) string { return filepath.Join(s.dir, treeDir(t), hour) }

// openPath is the path of a clip being written, without endings.
func (s *Spool) openPath(name string) string { return filepath.Join(s.dir, dirOpen, name) }

func (s *Spool) pendingDir(it *item) string { return s.hourPath(int(it.home), it.name) }

// entry is what one folder holds of an object.
type entry struct {
	name           string
	file, manifest fs.DirEntry
}

// item measures an entry.
func (e entry) item(t int) (*item, error) {
	it := &item{name: e.name, manifest: -1, lane: Lane(t), home: Lane(t)}
	if e.file != nil {
		info, err := e.file.Info()
		if err != nil {
			return nil, err
		}
		it.size = info.Size()
	}
	if e.manifest != nil {
		info, err := e.manifest.Info()
		if err != nil {
			return nil, err
		}
		it.manifest = info.Size()
	}
	return it, nil
}

// files lists the names that are there.
func (e entry) files() (out []string) {
	for _, f := range []fs.DirEntry{e.file, e.manifest} {
		if f != nil {
			out = append(out, f.Name())
		}
	}
	return out
}

// readHour lists the objects in an hour folder, by name; one that is not there, or
// is no folder, is empty. other is told of what else is there.
func (s *Spool) readHour(t int, hour string, other func(path string, kind fileKind)) ([]entry, error) {
	out, err := s.readFolder(t, hour, other)
	if errors.Is(err, errOdd) {
		s.setAside(s.hourDirOf(t, hour), err)
		return nil, nil
	}
	return out, err
}

// readFolder is readHour, but what is there and no folder is an error.
func (s *Spool) readFolder(t int, hour string, other func(path string, kind fileKind)) ([]entry, error) {
	dir := s.hourDirOf(t, hour)
	files, err := s.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []entry
	at := map[string]int{}
	for _, f := range files {
		name, kind := sortName(f.Name())
		switch {
		case kind == kindForeign:
		case !f.Type().IsRegular():
			kind = kindOdd
		case hourOf(name) != hour:
			kind = kindForeign
		}
		if kind != kindFile && kind != kindManifest {
			if other != nil {
				other(filepath.Join(dir, f.Name()), kind)
			}
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, entry{name: name})
		}
		if kind == kindFile {
			out[i].file = f
		} else {
			out[i].manifest = f
		}
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// hoursOf lists the hour folders of a tree.
func (s *Spool) hoursOf(t int) ([]string, error) {
	entries, err := s.fs.ReadDir(filepath.Join(s.dir, treeDir(t)))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && isHour(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func isHour(name string) bool {
	return len(name) == 10 && strings.Trim(name, "0123456789") == ""
}

// makeLayout makes the folders that are always there.
func (s *Spool) makeLayout() error {
	dirs := []string{dirOpen, dirPending, dirUploaded, dirDropped, dirIndex}
	for t := range treeUploaded {
		dirs = append(dirs, treeDir(t))
	}
	for _, dir := range dirs {
		if err := s.fs.Mkdir(filepath.Join(s.dir, dir)); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.SyncDir(filepath.Join(s.dir, dirPending)), s.fs.SyncDir(s.dir))
}

// makeDir makes an hour folder, durably. The caller holds card.
func (s *Spool) makeDir(dir string) error {
	s.mu.Lock()
	known := s.made[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	err := s.withRoom(func() error { return s.fs.Mkdir(dir) })
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(dir))
	}
	if err == nil {
		s.mu.Lock()
		s.made[dir] = true
		s.mu.Unlock()
	}
	return err
}

// hourDir makes the folder of an item that begins to wait; with a new hour comes
// a look at the old ones. The caller holds card.
func (s *Spool) hourDir(it *item) (string, error) {
	s.mu.Lock()
	fresh := s.newest != s.indexed
	s.indexed = s.newest
	s.mu.Unlock()
	s.tidy()
	if fresh {
		s.saveIndex()
	}
	dir := s.pendingDir(it)
	return dir, s.makeDir(dir)
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

// count keeps the books: objects come to a tree (sign 1) or go. The caller holds mu.
func (s *Spool) count(t, sign int, name string, files []string, bytes int64) {
	s.used += s.x.trees[t].count(sign, name, files, bytes)
	// The newest hour's folder would be made again for the next clip.
	if h := hourOf(name); h < s.newest && s.x.trees[t].at(h).n == 0 {
		s.emptied[s.hourPath(t, name)] = true
	}
}

// writeFile writes a whole file durably under a temporary name first. The
// caller holds card.
func (s *Spool) writeFile(path, ext string, data []byte) error {
	err := s.writeNew(path+ext, data)
	if err == nil {
		err = s.rename(path+ext, path)
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(path))
	}
	return cardError("writing "+filepath.Base(path), err)
}

// writeNew writes a new file and syncs it, but not its name. The caller holds card.
func (s *Spool) writeNew(path string, data []byte) error {
	w, err := s.create(path)
	if err != nil {
		return err
	}
	_, err = writeAll(w, data, s.giveUp)
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// create makes a new file. The caller holds card.
func (s *Spool) create(path string) (w WFile, err error) {
	err = s.withRoom(func() (err error) { w, err = s.fs.Create(path); return err })
	return w, err
}

// rename never takes another file's name: rename(2) would remove that file.
// The caller holds card.
func (s *Spool) rename(from, to string) error {
	switch _, err := s.fs.Stat(to); {
	case err == nil:
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return s.fs.Rename(from, to)
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
