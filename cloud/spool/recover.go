package spool

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// found is what lies on the card under one object's name.
type found struct {
	it             *item
	file, manifest place
	part           bool // of the file, in its lane's folder
}

// place is where one file of a pair was found.
type place struct {
	in   where
	size int64
}

type where uint8

const (
	nowhere where = iota
	inPending
	inUploaded
)

// makeLayout makes the folders that are always there.
func (s *Spool) makeLayout() error {
	pending := filepath.Join(s.dir, dirPending)
	dirs := []string{filepath.Join(s.dir, dirOpen), pending, filepath.Join(s.dir, dirUploaded)}
	for _, lane := range []Lane{Snapshot, Alarm, Routine} {
		dirs = append(dirs, filepath.Join(pending, lane.String()))
	}
	for _, dir := range dirs {
		if err := s.fs.Mkdir(dir); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.SyncDir(pending), s.fs.SyncDir(s.dir))
}

// recover is the procedure of the package comment.
func (s *Spool) recover() error {
	if err := s.makeLayout(); err != nil {
		return cardError("making its folders", err)
	}
	all := map[string]*found{}
	if err := s.scanHours(filepath.Join(s.dir, dirUploaded), inUploaded, 0, all); err != nil {
		return cardError("reading it", err)
	}
	for _, lane := range []Lane{Snapshot, Alarm, Routine} {
		if err := s.scanHours(filepath.Join(s.dir, dirPending, lane.String()), inPending, lane, all); err != nil {
			return cardError("reading it", err)
		}
	}
	if err := s.scanOpen(all); err != nil {
		return cardError("reading "+dirOpen, err)
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := s.settle(all[name]); err != nil {
			return cardError("settling "+name, err)
		}
	}
	s.tidy()
	s.logRecovery()
	return nil
}

// scanHours reads all hour folders of one folder.
func (s *Spool) scanHours(dir string, in where, lane Lane, all map[string]*found) error {
	hours, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, h := range hours {
		path := filepath.Join(dir, h.Name())
		if !h.IsDir() {
			continue
		}
		s.emptied[path] = true
		files, err := s.fs.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range files {
			if err := s.scanFile(path, e, in, lane, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// scanOpen finds commits that were cut, and clips that were open.
func (s *Spool) scanOpen(all map[string]*found) error {
	dir := filepath.Join(s.dir, dirOpen)
	files, err := s.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range files {
		name, kind := sortName(e.Name())
		info, err := e.Info()
		switch {
		case err != nil:
			return err
		case kind == kindPart && all[name] != nil:
			all[name].part = true
			all[name].it.size = info.Size()
		case kind == kindPart:
			if err := s.leave(name, info.Size()); err != nil {
				return err
			}
		}
	}
	for _, e := range files {
		if name, kind := sortName(e.Name()); kind == kindNotes && s.left[name] == nil {
			if err := s.fs.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave enters a clip that was left open.
func (s *Spool) leave(name string, size int64) error {
	notes, err := s.readJournal(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	it := &item{name: name, size: size, manifest: -1}
	s.left[name], s.open[name] = &Unfinished{Name: name, Size: size, Notes: notes}, it
	s.used += it.bytes()
	return nil
}

// scanFile notes one file, or removes it if it is a temporary one.
func (s *Spool) scanFile(dir string, e fs.DirEntry, in where, lane Lane, all map[string]*found) error {
	name, kind := sortName(e.Name())
	if kind == kindForeign || kind == kindPart || kind == kindNotes || e.IsDir() || hourOf(name) != filepath.Base(dir) {
		return nil
	}
	if kind == kindTemporary {
		s.st.Removed++
		return s.fs.Remove(filepath.Join(dir, e.Name()))
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	f := all[name]
	if f == nil {
		f = &found{it: &item{name: name, home: lane}}
		all[name] = f
	}
	if kind == kindFile && f.file.in == inUploaded || kind == kindManifest && f.manifest.in == inUploaded {
		// A rename between folders that a cut has left half done: one file, two names.
		s.st.Removed++
		return s.fs.Remove(filepath.Join(dir, e.Name()))
	}
	if in == inPending {
		f.it.home = lane
	}
	switch kind {
	case kindFile:
		f.file = place{in, info.Size()}
	case kindManifest:
		f.manifest = place{in, info.Size()}
	}
	return nil
}

type fileKind uint8

const (
	kindForeign fileKind = iota
	kindFile
	kindManifest
	kindPart
	kindNotes
	kindTemporary
)

// sortName tells what a file name stands for, and of which object.
func sortName(file string) (object string, kind fileKind) {
	if _, err := startOf(file); err != nil {
		return "", kindForeign
	}
	stem, suffix := file[:stemLen], file[stemLen:]
	switch {
	case suffix == extClip:
		return stem, kindFile
	case suffix == extManifest:
		return stem, kindManifest
	case suffix == extClip+extPart:
		return stem, kindPart
	case suffix == extNotes:
		return stem, kindNotes
	case suffix == extManifest+extTmp:
		return stem, kindTemporary
	case checkSingle(file) == nil:
		return file, kindFile
	}
	if single, ok := strings.CutSuffix(file, extPart); ok && checkSingle(single) == nil {
		return stem, kindTemporary
	}
	return "", kindForeign
}

// settle brings one object into one of the states that there are without cuts,
// and into the index.
func (s *Spool) settle(f *found) error {
	it := f.it
	down := filepath.Join(s.pendingDir(it), it.name)
	if f.part {
		if f.manifest.in != inPending || f.file.in != nowhere {
			s.st.Removed++
			f.part = false
			if err := s.fs.Remove(s.openPath(it.name) + extClip + extPart); err != nil {
				return err
			}
		} else if err := s.finishCommit(f, down); err != nil {
			return err
		}
	}
	if it.clip() && (f.file.in == inUploaded) != (f.manifest.in == inUploaded) {
		if err := s.finishPair(f); err != nil {
			return err
		}
	}
	if f.file.in == nowhere && f.manifest.in == inPending {
		s.st.Removed++
		return s.fs.Remove(down + extManifest)
	}
	if f.file.in == nowhere {
		return nil
	}
	it.size, it.manifest = f.file.size, -1
	if f.manifest.in != nowhere {
		it.manifest = f.manifest.size
	}
	it.uploaded = f.file.in == inUploaded
	it.lane = it.home
	if it.lane == Routine {
		it.lane = Backfill
	}
	s.x.add(it)
	s.used += it.bytes()
	return nil
}

// finishCommit does step 3 of a commit.
func (s *Spool) finishCommit(f *found, path string) error {
	s.st.Finished++
	f.file = place{inPending, f.it.size}
	return s.moveIn(f.it.name, filepath.Dir(path))
}

// finishPair handles a pair of which exactly one lies under uploaded/: the rest
// of a cut release, or of a cut eviction.
func (s *Spool) finishPair(f *found) error {
	up, down := filepath.Join(s.uploadedDir(f.it), f.it.name), filepath.Join(s.pendingDir(f.it), f.it.name)
	var err error
	switch {
	case f.file.in == inPending:
		err = s.finishMove(down+extClip, up+extClip)
		f.file.in = inUploaded
	case f.manifest.in == inPending:
		err = s.finishMove(down+extManifest, up+extManifest)
		f.manifest.in = inUploaded
	case f.file.in == inUploaded:
		err = s.fs.Remove(up + extClip)
		f.file.in = nowhere
		s.st.Removed++
	default:
		err = s.fs.Remove(up + extManifest)
		s.st.Removed++
	}
	return err
}

func (s *Spool) finishMove(from, to string) error {
	s.st.Finished++
	err := s.fs.Rename(from, to)
	if err == nil {
		err = errors.Join(s.fs.SyncDir(filepath.Dir(to)), s.fs.SyncDir(filepath.Dir(from)))
	}
	return err
}
