package spool

import (
	"fmt"
	"io"
)

// OpenUnfinished opens the file of a clip of Unfinished for reading, as the cut
// left it.
func (s *Spool) OpenUnfinished(name string) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	u := s.left[name]
	s.mu.Unlock()
	if u == nil {
		return nil, fmt.Errorf("%w: %.64q was not left open", ErrName, name)
	}
	f, err := s.fs.Open(s.openPath(name) + extClip + extPart)
	if err != nil {
		return nil, s.note(cardError("opening "+name, err))
	}
	return f, nil
}
