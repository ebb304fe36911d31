package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
)

const (
	maxNote    = 4 << 10
	maxJournal = 64 << 10 // a real one has some 60 lines
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// noteLine is one line of a journal: checksum in hex, a space, the note.
func noteLine(note []byte) ([]byte, error) {
	if len(note) == 0 || len(note) > maxNote || bytes.IndexByte(note, '\n') >= 0 {
		return nil, fmt.Errorf("note of %d bytes, want one line of 1 to %d bytes", len(note), maxNote)
	}
	line := make([]byte, 0, len(note)+10)
	line = hex.AppendEncode(line, binary.BigEndian.AppendUint32(nil, crc32.Checksum(note, castagnoli)))
	line = append(append(append(line, ' '), note...), '\n')
	return line, nil
}

// parseJournal returns the notes before the first line that is torn: what comes
// after it was never synced.
func parseJournal(data []byte) (notes [][]byte) {
	for {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		if !whole {
			return notes
		}
		sum, note, ok := bytes.Cut(line, []byte{' '})
		if !ok || !bytes.Equal(sum, hex.AppendEncode(nil, binary.BigEndian.AppendUint32(nil, crc32.Checksum(note, castagnoli)))) {
			return notes
		}
		notes, data = append(notes, bytes.Clone(note)), rest
	}
}

// readJournal returns the notes of a clip that was left open; none without a journal.
func (s *Spool) readJournal(name string) ([][]byte, error) {
	data, err := s.readAll(s.openPath(name)+extNotes, maxJournal+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(data) > maxJournal {
		err = fmt.Errorf("more than %d bytes, so none of ours", maxJournal)
	}
	return parseJournal(data), err
}
