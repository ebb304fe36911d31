package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
)

// The index is a summary of the hour folders: for each its counts and the sum of
// its names. A start reads all names, and takes the bytes of a folder from the
// index if the sum is the folder's own: so it need not ask for the size of each
// file. A lost or old index costs time, nothing else; it is not even synced.

const (
	indexHead = "camagent card 1\n"
	maxIndex  = 16 << 20
)

func (s *Spool) indexPath() string { return filepath.Join(s.dir, dirIndex, "hours") }

// saveIndex writes the index. The caller holds card.
func (s *Spool) saveIndex() {
	path := s.indexPath()
	err := s.removeAll(path, path+extTmp)
	if err == nil {
		err = s.writeIndex(path + extTmp)
	}
	if err == nil {
		err = s.fs.Rename(path+extTmp, path)
	}
	if err != nil {
		s.removeAll(path + extTmp)
		s.log.Debug("no index: the next start takes longer", zap.Error(err))
	}
}

func (s *Spool) writeIndex(path string) error {
	w, err := s.fs.Create(path)
	if err != nil {
		return err
	}
	_, err = w.Write(s.indexBytes())
	return errors.Join(err, w.Close())
}

func (s *Spool) indexBytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b bytes.Buffer
	b.WriteString(indexHead)
	for t := range trees {
		for _, h := range s.x.trees[t].hours {
			fmt.Fprintf(&b, "%d %s %d %d %d %016x\n", t, h.name, h.n, h.clips, h.bytes, h.names)
		}
	}
	fmt.Fprintf(&b, "%08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

// loadIndex reads the index; what is not whole is as good as none.
func (s *Spool) loadIndex() [trees]map[string]hour {
	data, err := s.readAll(s.indexPath(), maxIndex)
	if err != nil {
		return [trees]map[string]hour{}
	}
	return parseIndex(data)
}

func parseIndex(data []byte) (out [trees]map[string]hour) {
	text, ok := bytes.CutPrefix(data, []byte(indexHead))
	end := len(data) - 9
	if !ok || end < len(indexHead) || fmt.Sprintf("%08x\n", crc32.Checksum(data[:end], castagnoli)) != string(data[end:]) {
		return out
	}
	for line := range strings.Lines(string(text[:len(text)-9])) {
		var t int
		var h hour
		if _, err := fmt.Sscanf(line, "%d %s %d %d %d %x\n", &t, &h.name, &h.n, &h.clips, &h.bytes, &h.names); err != nil || t < 0 || t >= trees || h.n < 0 || h.bytes < 0 {
			return [trees]map[string]hour{}
		}
		if out[t] == nil {
			out[t] = map[string]hour{}
		}
		out[t][h.name] = h
	}
	return out
}
