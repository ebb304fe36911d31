package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"path/filepath"
	"syscall"
)

var errClosed = errors.New("clip is closed already")

// File is a clip that is being written. Its methods are for one goroutine at a
// time. After an error of Write or Sync only Abort makes sense.
type File struct {
	s      *Spool
	it     *item
	f      WFile // nil: nothing more is written
	notes  WFile
	unsent []byte    // lines for the journal that the next Sync writes
	named  bool      // the names below open/ are durable
	hash   hash.Hash // hashed once, on the way to the card
	gen    uint64    // the spool's, at Create: Wipe and a lost card end older files
	err    error     // sticky
}

// Write appends sealed bytes, giving up older objects if room is needed.
func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if f.f == nil {
		f.err = errors.New("clip is finished: it can only be committed or aborted")
		return 0, f.err
	}
	if f.err = f.s.reserve(int64(len(p)), f.gen); f.err != nil {
		return 0, f.err
	}
	f.it.size += int64(len(p))
	n, err := writeAll(f.f, p, f.s.makeRoom)
	f.hash.Write(p[:n])
	f.err = f.s.noted(cardError("writing a clip", err))
	return n, f.err
}

// Note appends a line to the journal beside the clip; the next Sync makes it
// durable, after what was written to the clip before: a note never tells of
// bytes that the card does not hold. At most 4 KiB, without a line feed,
// and 64 KiB in all.
func (f *File) Note(line []byte) error {
	if f.err != nil {
		return f.err
	}
	l, err := noteLine(line)
	if err != nil {
		return err
	}
	if f.it.notes+int64(len(l)) > maxJournal {
		return fmt.Errorf("journal of %s: it would exceed %d bytes", f.it.name, maxJournal)
	}
	if f.err = f.s.reserve(int64(len(l)), f.gen); f.err != nil {
		return f.err
	}
	f.it.notes += int64(len(l))
	f.unsent = append(f.unsent, l...)
	return nil
}

// Sync makes durable what was written so far, then the notes; call it once a
// fragment.
func (f *File) Sync() error {
	if f.err != nil {
		return f.err
	}
	err := f.sync()
	f.err = f.s.noted(cardError("syncing a clip", err))
	return f.err
}

func (f *File) sync() error {
	if f.f == nil {
		return nil
	}
	if err := f.s.live(f.gen); err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	if len(f.unsent) > 0 {
		if _, err := writeAll(f.notes, f.unsent, f.s.makeRoom); err != nil {
			return err
		}
		f.unsent = f.unsent[:0]
		if err := f.notes.Sync(); err != nil {
			return err
		}
	}
	if f.named {
		return nil
	}
	f.named = true
	return f.s.fs.SyncDir(filepath.Join(f.s.dir, dirOpen))
}

// Size returns the bytes written so far.
func (f *File) Size() int64 { return f.it.size }

// SHA256 returns the hash of the bytes written so far.
func (f *File) SHA256() (sum [32]byte) {
	f.hash.Sum(sum[:0])
	return sum
}

// Commit closes the clip and stores its manifest beside it, in the lane Alarm or
// Routine. When it returns nil, both survive any cut, and are offered by Next.
// After an error the clip is given up; but if the card died in the middle, the
// pair may still come back at the next start, so its manifest's sequence must
// not be used again.
func (f *File) Commit(lane Lane, manifest []byte) (Object, error) {
	if f.err != nil {
		return Object{}, f.err
	}
	if len(manifest) == 0 {
		return Object{}, errors.New("commit: empty manifest")
	}
	if lane != Alarm && lane != Routine {
		return Object{}, fmt.Errorf("a clip cannot go to lane %s", lane)
	}
	f.it.lane, f.it.home = lane, lane
	o, err := f.commit(manifest)
	if err != nil {
		err = f.s.noted(fmt.Errorf("closing clip %s: %w", f.it.name, err))
		f.discard()
		f.err = err
		return Object{}, err
	}
	f.err = errClosed
	return o, nil
}

// commit is the procedure of the package comment.
func (f *File) commit(manifest []byte) (Object, error) {
	if err := f.s.reserve(int64(len(manifest)), f.gen); err != nil {
		return Object{}, err
	}
	f.it.manifest = int64(len(manifest))
	if err := cardError("fsync", f.sync()); err != nil {
		return Object{}, err
	}
	if err := cardError("closing", f.closeFiles()); err != nil {
		return Object{}, err
	}
	f.it.sums = &[2][32]byte{f.SHA256(), sha256.Sum256(manifest)}
	f.it.by = f.s.signer(manifest)

	f.s.card.Lock()
	defer f.s.card.Unlock()
	if err := f.s.live(f.gen); err != nil {
		return Object{}, err
	}
	dir, err := f.s.hourDir(f.it)
	if err != nil {
		return Object{}, cardError("creating a folder", err)
	}
	if err := f.s.writeFile(filepath.Join(dir, f.it.name+extManifest), extTmp, manifest); err != nil {
		return Object{}, err
	}
	if err := f.s.moveIn(f.it.name, dir); err != nil {
		return Object{}, cardError("renaming", err)
	}
	return f.s.enter(f.it, f.gen)
}

// moveIn does steps 3 and 4 of a commit.
func (s *Spool) moveIn(name, dir string) error {
	from := s.openPath(name)
	err := s.withRoom(func() error { return s.rename(from+extClip+extPart, filepath.Join(dir, name+extClip)) })
	if err == nil {
		err = errors.Join(s.fs.SyncDir(dir), s.fs.SyncDir(filepath.Dir(from)))
	}
	if err == nil {
		err = s.removeAll(from + extNotes)
	}
	return err
}

// Abort removes the unfinished clip; after Commit it does nothing.
func (f *File) Abort() error {
	if errors.Is(f.err, errClosed) {
		return nil
	}
	err := f.discard()
	f.err = errClosed
	return cardError("removing an unfinished clip", err)
}

func (f *File) closeFiles() (err error) {
	for _, w := range []WFile{f.f, f.notes} {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}
	f.f, f.notes = nil, nil
	return err
}

// discard removes what there is of the clip: the manifest first, because with
// it recovery would take the rest for a closed clip.
func (f *File) discard() error {
	f.closeFiles()
	f.s.card.Lock()
	defer f.s.card.Unlock()
	if err := f.s.live(f.gen); err != nil {
		return nil // it is another card's, or removed
	}
	from := f.s.openPath(f.it.name)
	paths := []string{from + extClip + extPart, from + extNotes}
	if f.it.home != Snapshot { // its commit was begun
		path := filepath.Join(f.s.pendingDir(f.it), f.it.name)
		paths = append([]string{path + extManifest, path + extManifest + extTmp, path + extClip}, paths...)
	}
	err := f.s.removeAll(paths...)
	f.s.abandon(f.it, f.gen)
	return err
}

// writeAll writes p; if the card says that it is full although our own count
// says otherwise, older objects make room.
func writeAll(w WFile, p []byte, room func() error) (n int, err error) {
	for spared := 0; n < len(p); spared++ {
		var k int
		k, err = w.Write(p[n:])
		n += k
		if err == nil {
			continue
		}
		if k > 0 {
			spared = 0
		}
		if !errors.Is(err, syscall.ENOSPC) || spared > maxSpared {
			return n, err
		}
		if err = room(); err != nil {
			return n, err
		}
	}
	return n, nil
}
