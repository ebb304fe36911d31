package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Unfinished is a clip that a cut left open: its file may end in the middle, and
// what lies beyond the size that its last note tells of may be anything.
type Unfinished struct {
	Name  string
	Size  int64
	Notes [][]byte // lines of its journal, oldest first; a torn last one is left out
}

// Unfinished lists the clips that were open when the card was last let go, after
// an Attach that took hold of it, oldest first. Each stays until Finish or
// Discard.
func (s *Spool) Unfinished() []Unfinished {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Unfinished, 0, len(s.left))
	for _, u := range s.left {
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b Unfinished) int { return strings.Compare(a.Name, b.Name) })
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
