package spool

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// recover is the procedure of the package comment: hour by hour, so that memory
// does not grow with the card.
func (s *Spool) recover() error {
	if err := s.makeLayout(); err != nil {
		return cardError("making its folders", err)
	}
	s.readID()
	parts, err := s.scanOpen()
	if err != nil {
		return cardError("reading "+dirOpen, err)
	}
	hours, err := s.allHours()
	if err != nil {
		return cardError("reading it", err)
	}
	known, asked, bad := s.loadIndex(), 0, 0
	for _, h := range hours {
		n, err := s.recoverHour(h, parts, &known)
		if err != nil {
			err = s.skip(filepath.Join(s.dir, h), &bad, err)
		}
		if err != nil {
			return cardError("settling hour "+h, err)
		}
		asked += n
	}
	if err := s.leaveOpen(parts); err != nil {
		return cardError("reading "+dirOpen, err)
	}
	if err := s.readUnsure(); err != nil {
		return cardError("reading "+dirIndex, err)
	}
	for i := range s.x.lanes {
		s.x.lanes[i].more = i != int(Routine)
	}
	s.tidy()
	if asked > 0 {
		s.saveIndex()
	}
	st := s.Stats()
	s.log.Info("card ready", zap.Int("pending", st.Pending), zap.Int("uploaded", st.Uploaded), zap.Int64("bytes", st.UsedBytes),
		zap.Int("removed", st.Removed), zap.Int("finished", st.Finished), zap.Int("unfinished", len(s.left)), zap.Int("folders_asked", asked))
	return nil
}

// scanOpen lists the clips below open/ and their sizes.
func (s *Spool) scanOpen() (map[string]int64, error) {
	files, err := s.fs.ReadDir(filepath.Join(s.dir, dirOpen))
	if err != nil {
		return nil, err
	}
	parts := map[string]int64{}
	for _, f := range files {
		if name, kind := sortName(f.Name()); kind == kindPart && isClip(name) && f.Type().IsRegular() {
			info, err := f.Info()
			if err != nil {
				return nil, err
			}
			parts[name] = info.Size()
		}
	}
	return parts, nil
}

// leaveOpen keeps the clips that are left for Finish and Discard, and removes
// journals without a clip.
func (s *Spool) leaveOpen(parts map[string]int64) error {
	files, err := s.fs.ReadDir(filepath.Join(s.dir, dirOpen))
	if err != nil {
		return err
	}
	notes := map[string]int64{}
	for _, f := range files {
		name, kind := sortName(f.Name())
		if kind != kindNotes || !f.Type().IsRegular() {
			continue
		}
		if _, ok := parts[name]; ok {
			info, err := f.Info()
			if err != nil {
				return err
			}
			notes[name] = info.Size()
			continue
		}
		s.st.Removed++
		if err := s.fs.Remove(filepath.Join(s.dir, dirOpen, f.Name())); err != nil {
			return err
		}
	}
	for name, size := range parts {
		it := &item{name: name, size: size, manifest: -1, notes: notes[name]}
		s.left[name], s.open[name] = &Unfinished{Name: name, Size: size}, it
		s.used += it.bytes()
	}
	return nil
}

// allHours lists the hours for which there is any folder.
func (s *Spool) allHours() (out []string, err error) {
	for t := range trees {
		hours, err := s.hoursOf(t)
		if err != nil {
			return nil, err
		}
		out = append(out, hours...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// found is where the files of one object lie.
type found struct {
	name string
	at   [trees]entry
}

// files tells in which tree a file lies; the later tree wins, because files move
// from the lanes to uploaded/. -1: in none.
func (f *found) files() (file, manifest int) {
	file, manifest = -1, -1
	for t := range treeDropped {
		if f.at[t].file != nil {
			file = t
		}
		if f.at[t].manifest != nil {
			manifest = t
		}
	}
	return file, manifest
}

// recoverHour brings all objects of an hour into one of the states that there
// are without cuts, and counts them. After an error nothing of it counts in this run. It returns how many folders had to be asked
// for the size of each file.
func (s *Spool) recoverHour(name string, parts map[string]int64, known *[trees]map[string]hour) (asked int, err error) {
	for {
		lists, changed, err := s.settleHour(name, parts)
		if err != nil {
			return 0, err
		}
		if changed {
			continue // what is counted is what is read once more
		}
		for t, list := range lists {
			n, err := s.countHour(t, name, list, known[t][name])
			if err != nil {
				for t := range trees {
					_, _ = s.countHour(t, name, nil, hour{})
				}
				return 0, err
			}
			asked += n
		}
		return asked, nil
	}
}

// settleHour reads an hour's folders and sets right what is half done in them.
func (s *Spool) settleHour(hour string, parts map[string]int64) (lists [trees][]entry, changed bool, err error) {
	all := map[string]*found{}
	var temporary []string
	for t := range trees {
		foreign := false
		lists[t], err = s.readHour(t, hour, func(path string, kind fileKind) {
			foreign = true
			switch kind {
			case kindTemporary:
				temporary = append(temporary, path)
			case kindOdd:
				s.setAside(path, errOdd)
			}
		})
		if err != nil {
			return lists, false, err
		}
		if len(lists[t]) == 0 && !foreign {
			s.emptied[filepath.Join(s.dir, treeDir(t), hour)] = true
		}
		for _, e := range lists[t] {
			f := all[e.name]
			if f == nil {
				f = &found{name: e.name}
				all[e.name] = f
			}
			f.at[t] = e
		}
	}
	for _, path := range temporary {
		done, err := s.settleTemporary(path)
		if err != nil {
			return lists, false, err
		}
		changed = changed || done
	}
	if changed {
		return lists, true, nil
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		done, err := s.settle(all[name], parts)
		if err != nil {
			return lists, false, err
		}
		changed = changed || done
	}
	return lists, changed, nil
}

// settleTemporary removes a temporary file. But a FAT on which a rename was cut may
// hold the new name without bytes, and the whole file under the old one: then it is
// renamed once more. changed: the hour is to be read again.
func (s *Spool) settleTemporary(path string) (changed bool, err error) {
	to := strings.TrimSuffix(strings.TrimSuffix(path, extTmp), extPart)
	if !s.isEmpty(to) {
		return false, s.removed(path)
	}
	if err := s.removed(to); err != nil || s.isEmpty(path) {
		return true, errors.Join(err, s.removed(path))
	}
	s.st.Finished++
	return true, errors.Join(s.fs.Rename(path, to), s.fs.SyncDir(filepath.Dir(to)))
}

// isEmpty tells whether a file is there and has no bytes.
func (s *Spool) isEmpty(path string) bool {
	st, err := s.fs.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Size() == 0
}

// removed removes a file and counts it.
func (s *Spool) removed(path string) error {
	s.st.Removed++
	return s.removeAll(path)
}

// settle does one step towards a state without a cut; false: it is in one.
func (s *Spool) settle(f *found, parts map[string]int64) (changed bool, err error) {
	path := func(t int, ext string) string { return filepath.Join(s.hourPath(t, f.name), f.name+ext) }
	if !isClip(f.name) {
		return s.settleTwice(f, "", func(e entry) bool { return e.file != nil })
	}
	for _, ext := range []string{extClip, extManifest} {
		is := func(e entry) bool { return ext == extClip && e.file != nil || ext == extManifest && e.manifest != nil }
		if changed, err := s.settleTwice(f, ext, is); changed || err != nil {
			return changed, err
		}
	}
	file, manifest := f.files()
	size, part := parts[f.name]
	dropped := f.at[treeDropped].manifest != nil
	switch {
	case part && manifest >= 0 && file < 0: // step 3 of a commit
		delete(parts, f.name)
		s.st.Finished++
		return true, s.moveIn(f.name, s.hourPath(manifest, f.name))
	case part && file >= 0 && size > 0 && s.isEmpty(path(file, extClip)): // a rename that was cut: it is to be done again
		return true, s.removed(path(file, extClip))
	case part && file >= 0: // one file, two names
		delete(parts, f.name)
		return true, s.removed(s.openPath(f.name) + extClip + extPart)
	case dropped && file >= 0: // it was given up
		return true, s.removed(path(file, extClip))
	case manifest >= 0 && manifest < treeUploaded && file == treeUploaded: // a release
		return true, s.finishMove(path(manifest, extManifest), path(treeUploaded, extManifest))
	case manifest == treeUploaded && file >= 0 && file < treeUploaded:
		return true, s.finishMove(path(file, extClip), path(treeUploaded, extClip))
	case manifest == treeUploaded && file < 0, file == treeUploaded && manifest < 0: // the end of an uploaded one
		return true, errors.Join(s.removed(path(treeUploaded, extManifest)), s.removeAll(path(treeUploaded, extClip)))
	case manifest >= 0 && file < 0: // it was given up
		s.st.Finished++
		return true, s.drop(manifest, &item{name: f.name})
	}
	return false, nil
}

// settleTwice leaves a file in one tree: the last, unless it has no bytes there.
func (s *Spool) settleTwice(f *found, ext string, is func(entry) bool) (bool, error) {
	first := -1
	for t := range treeDropped {
		if !is(f.at[t]) {
			continue
		}
		if first >= 0 {
			older, newer := filepath.Join(s.hourPath(first, f.name), f.name+ext), filepath.Join(s.hourPath(t, f.name), f.name+ext)
			if s.isEmpty(newer) && !s.isEmpty(older) {
				return true, s.removed(newer)
			}
			return true, s.removed(older)
		}
		first = t
	}
	return false, nil
}

func (s *Spool) finishMove(from, to string) error {
	s.st.Finished++
	err := s.makeDir(filepath.Dir(to))
	if err == nil {
		err = s.rename(from, to)
	}
	if err == nil {
		err = errors.Join(s.fs.SyncDir(filepath.Dir(to)), s.fs.SyncDir(filepath.Dir(from)))
	}
	return err
}

// countHour enters an hour in the books: with the bytes of the index if it is of
// these names, else it asks for each size. The caller holds card.
func (s *Spool) countHour(t int, name string, list []entry, known hour) (asked int, err error) {
	h := hour{name: name}
	for _, e := range list {
		if h.n++; h.first == "" {
			h.first = e.name
		}
		if isClip(e.name) {
			h.clips++
		}
		for _, f := range e.files() {
			h.names += nameSum(f)
		}
	}
	if h.bytes = known.bytes; h.n > 0 && (h.names != known.names || h.n != known.n || h.clips != known.clips) {
		asked, h.bytes = 1, 0
		for _, e := range list {
			it, err := e.item(t)
			if err != nil {
				return 1, err
			}
			h.bytes += it.bytes()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= s.x.trees[t].bytes
	s.x.trees[t].set(h)
	s.used += s.x.trees[t].bytes
	return asked, nil
}

// recount sets the books of an hour right after a failure in it; should that
// fail, too, the next start does. The caller holds card.
func (s *Spool) recount(t int, name string) {
	list, err := s.readHour(t, name, nil)
	if err == nil {
		_, err = s.countHour(t, name, list, hour{})
	}
	if err != nil {
		s.log.Warn("the card cannot be counted", zap.String("hour", name), zap.Error(err))
	}
}
