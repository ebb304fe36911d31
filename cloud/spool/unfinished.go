package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Unfinished is a clip that a cut left open: its file may end in the middle, and
// what lies beyond the size that its last note tells of may be anything.
type Unfinished struct {
	Name  string
	Size  int64
	Notes [][]byte // lines of its journal, oldest first; a torn last one is left out
}

// A card may hold any number of such clips, and they may stay: their journals are
// read when they are asked for, in lots of at most so many clips and bytes.
const (
	lotClips = 256
	lotBytes = 1 << 20
)

// Unfinished lists the clips that were open when the card was last let go, after
// an Attach that took hold of it, oldest first, and reads their journals. Each stays
// until Finish or Discard. If there are more than 256, or more than 1 MiB of journals,
// each call lists the next ones. A clip whose journal can't be read, or is larger than
// a File's may be, is left out: Stats tells.
func (s *Spool) Unfinished() []Unfinished {
	out := s.nextLeft()
	for i := range out {
		notes, err := s.readJournal(out[i].Name)
		if err != nil {
			s.setAside(s.openPath(out[i].Name)+extNotes, err)
			out[i].Name = ""
		}
		out[i].Notes = notes
	}
	return slices.DeleteFunc(out, func(u Unfinished) bool { return u.Name == "" })
}

// nextLeft lists the clips that were left open: all, or those whose turn it is.
func (s *Spool) nextLeft() []Unfinished {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := slices.Sorted(maps.Keys(s.left))
	from, _ := slices.BinarySearch(names, s.leftFrom)
	s.leftFrom = ""
	out := []Unfinished{}
	room := int64(lotBytes)
	for _, name := range names[from:] {
		if s.open[name] == nil {
			continue // Discard removes it
		}
		if room -= min(s.open[name].notes, maxJournal); room < 0 || len(out) == lotClips {
			s.leftFrom = name
			break
		}
		out = append(out, Unfinished{Name: name, Size: s.left[name].Size})
	}
	return out
}

// Finish trims a clip of Unfinished to size. The File can be committed or
// aborted, nothing else; its SHA256 is of what is left. Takes as long as reading it.
func (s *Spool) Finish(name string, size int64) (*File, error) {
	f, u, err := s.resume(name)
	if err != nil {
		return nil, err
	}
	if size < 0 || size > u.Size {
		return nil, fmt.Errorf("finishing %s at %d bytes: it has %d", name, size, u.Size)
	}
	if err := s.trim(f, size); err != nil {
		return nil, s.note(cardError("finishing "+name, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != f.gen {
		return nil, s.ended
	}
	delete(s.left, name)
	s.used -= u.Size - size
	f.it.size = size
	return f, nil
}

// trim cuts the file and hashes what is left.
func (s *Spool) trim(f *File, size int64) error {
	path := s.openPath(f.it.name) + extClip + extPart
	if size < f.it.size {
		if err := s.fs.Truncate(path, size); err != nil {
			return err
		}
	}
	r, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	if n, err := io.Copy(f.hash, r); err != nil || n != size {
		return errors.Join(err, fmt.Errorf("%d bytes are left, want %d", n, size))
	}
	return nil
}

// Discard removes a clip of Unfinished.
func (s *Spool) Discard(name string) error {
	f, _, err := s.resume(name)
	if err != nil {
		return err
	}
	if err := f.Abort(); err != nil {
		return s.note(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.left, name)
	return nil
}

func (s *Spool) resume(name string) (*File, *Unfinished, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.left[name]
	if u == nil {
		return nil, nil, fmt.Errorf("%w: %.64q was not left open", ErrName, name)
	}
	it := s.open[name]
	return &File{s: s, it: it, hash: sha256.New(), gen: s.gen, named: true}, u, nil
}
