package agent

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/spool"
)

// The notes beside an open clip become a signed manifest after a power cut. So that
// nobody who has had the card can have the camera sign what it has not filmed, each
// note begins with an HMAC-SHA256 (RFC 2104) by a key that never leaves the state
// folder: over the clip's name, the note before, and all bytes of the file so far.

// journalKey is the key of one binding, in the state folder: made when that begins,
// gone when it ends. Its methods may be called from any goroutine.
type journalKey struct {
	path string

	mu    sync.Mutex
	wants string // the binding that is
	state journalState
}

type journalState struct {
	BindID string `json:"bind_id"`
	Key    []byte `json:"key"`
}

const journalKeyLen = 32

// openJournalKey reads the key. One that is damaged is as none: what it vouched for
// stays on the card.
func openJournalKey(dir string) *journalKey {
	k := &journalKey{path: filepath.Join(dir, "journal.json")}
	if _, err := durable.ReadJSON(k.path, &k.state); err != nil || len(k.state.Key) != journalKeyLen {
		k.state = journalState{}
	}
	return k
}

// rebind makes the key of another binding, and forgets the one before; with an empty
// bindID there is none.
func (k *journalKey) rebind(bindID string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wants = bindID
	if bindID != "" {
		return k.make()
	}
	k.state = journalState{}
	err := os.Remove(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, durable.SyncDir(filepath.Dir(k.path)))
}

// make makes the key that is wanted, unless it is there. The caller holds mu.
func (k *journalKey) make() error {
	if k.state.BindID == k.wants {
		return nil
	}
	next := journalState{BindID: k.wants, Key: make([]byte, journalKeyLen)}
	rand.Read(next.Key)
	if err := durable.WriteJSON(k.path, next); err != nil {
		return fmt.Errorf("the key of open clips: %w", err)
	}
	k.state = next
	return nil
}

// of begins the notes of a clip for a binding.
func (k *journalKey) of(bindID, clip string) (*noteChain, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if bindID == "" || bindID != k.wants {
		return nil, errRebound
	}
	if err := k.make(); err != nil {
		return nil, err
	}
	return &noteChain{clip: clip, mac: hmac.New(sha256.New, k.state.Key)}, nil
}

// noteChain vouches for the notes of one clip, one after the other.
type noteChain struct {
	clip string
	mac  hash.Hash
	prev [sha256.Size]byte // of the note before; zeros for the first
}

// next is the code of the next note, while file is the hash of the clip's file. All
// but the note are of one length, so that nothing can be read in two ways.
func (c *noteChain) next(note []byte, file [sha256.Size]byte) [sha256.Size]byte {
	c.mac.Reset()
	io.WriteString(c.mac, c.clip)
	c.mac.Write(c.prev[:])
	c.mac.Write(file[:])
	c.mac.Write(note)
	c.mac.Sum(c.prev[:0])
	return c.prev
}

// line writes a note.
func (c *noteChain) line(note []byte, file [sha256.Size]byte) []byte {
	code := c.next(note, file)
	return append(append(hex.AppendEncode(make([]byte, 0, 2*len(code)+1+len(note)), code[:]), ' '), note...)
}

// check tells whether a line is the next note.
func (c *noteChain) check(line []byte, file [sha256.Size]byte) bool {
	code, note, _ := bytes.Cut(line, []byte{' '})
	want := c.next(note, file)
	return hmac.Equal(code, hex.AppendEncode(nil, want[:]))
}

// readNote decodes a line, whoever has written it.
func readNote(line []byte, to any) bool {
	_, note, ok := bytes.Cut(line, []byte{' '})
	return ok && json.Unmarshal(note, to) == nil
}

// maxClipFile bounds what is read of a file for the sake of a note that is not known to
// be ours: a clip has at most 8 MB.
const maxClipFile = 16 << 20

// writer is who has written what was left open.
type writer int

const (
	byUs     writer = iota // this camera, for its owner
	byNobody               // nothing was ever synced of it, or it is an earlier owner's: it goes
	byOthers               // another camera, by its own word: it stays
	unknown                // it says that it is ours, and nothing vouches for it: it stays
)

// writerOf tells who has written a clip that was left open, by the first note.
func (s *clipStore) writerOf(u spool.Unfinished) writer {
	if len(u.Notes) == 0 {
		return byNobody
	}
	var head clipHead
	if !readNote(u.Notes[0], &head) || head.Serial == "" {
		return unknown
	}
	switch epoch, bindID, _ := s.binding.Binding(); {
	case head.Serial != s.id.Serial || head.BindID != bindID && head.Epoch >= epoch:
		return byOthers
	case head.BindID != bindID:
		return byNobody
	}
	chain, err := s.key.of(head.BindID, u.Name)
	if err != nil || !chain.check(u.Notes[0], sha256.Sum256(nil)) {
		return unknown
	}
	return byUs
}

// vouched reads the file of a clip of ours that was left open, as far as notes tell of
// it: how many of them, but for the head, are ours and true of it, and the hash of the
// file up to the last of these.
func (s *clipStore) vouched(u spool.Unfinished, notes []clipNote, f io.Reader) (n int, sum [sha256.Size]byte, err error) {
	_, bindID, _ := s.binding.Binding()
	chain, err := s.key.of(bindID, u.Name)
	if err != nil {
		return 0, sum, err
	}
	file, at := sha256.New(), int64(0)
	file.Sum(sum[:0])
	if !chain.check(u.Notes[0], sum) {
		return 0, sum, errors.New("its journal is not this camera's")
	}
	for i, note := range notes {
		if note.Size < at || note.Size > maxClipFile {
			return i, sum, nil
		}
		got, err := io.CopyN(file, f, note.Size-at)
		if err != nil && !errors.Is(err, io.EOF) {
			return i, sum, err
		}
		if at += got; err != nil {
			return i, sum, nil // the card has lost its end
		}
		var here [sha256.Size]byte
		file.Sum(here[:0])
		if !chain.check(u.Notes[i+1], here) {
			return i, sum, nil
		}
		sum = here
	}
	return len(notes), sum, nil
}
