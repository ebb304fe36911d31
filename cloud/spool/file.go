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
	s    *Spool
	it   *item
	dir  string
	f    WFile
	hash hash.Hash // hashed once, on the way to the card
	gen  uint64    // the spool's, at Create: Wipe ends older files
	err  error     // sticky
}

// Write appends sealed bytes, evicting uploaded objects if room is needed.
func (f *File) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if f.err = f.s.reserve(int64(len(p)), f.gen); f.err != nil {
		return 0, f.err
	}
	f.it.size += int64(len(p))
	n, err := f.s.writeAll(f.f, p)
	f.hash.Write(p[:n])
	f.err = f.s.noted(cardError("writing a clip", err))
	return n, f.err
}

// Sync makes durable what was written so far; call it once a fragment.
func (f *File) Sync() error {
	if f.err == nil {
		f.err = f.s.noted(cardError("syncing a clip", f.f.Sync()))
	}
	return f.err
}

// Size returns the bytes written so far.
func (f *File) Size() int64 { return f.it.size }

// SHA256 returns the hash of the bytes written so far.
func (f *File) SHA256() (sum [32]byte) {
	f.hash.Sum(sum[:0])
	return sum
}

// Commit closes the clip and stores its manifest beside it. When it returns
// nil, both survive any cut, and are offered by Next. After an error the clip
// is given up; but if the card died in the middle, the pair may still come back
// at the next start, so its manifest's sequence must not be used again.
func (f *File) Commit(manifest []byte) (Object, error) {
	if f.err != nil {
		return Object{}, f.err
	}
	if len(manifest) == 0 {
		return Object{}, errors.New("commit: empty manifest")
	}
	o, err := f.commit(manifest)
	if err != nil {
		err = f.s.noted(fmt.Errorf("closing clip %s: %w", f.it.name, err))
		f.f = nil
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
		f.f.Close()
		return Object{}, err
	}
	f.it.manifest = int64(len(manifest))
	if err := cardError("fsync", errors.Join(f.f.Sync(), f.f.Close())); err != nil {
		return Object{}, err
	}
	f.it.sums = &[2][32]byte{f.SHA256(), sha256.Sum256(manifest)}

	f.s.card.Lock()
	defer f.s.card.Unlock()
	path := filepath.Join(f.dir, f.it.name)
	if err := f.s.writeFile(path+extManifest, extTmp, manifest); err != nil {
		return Object{}, err
	}
	err := f.s.fs.Rename(path+extClip+extPart, path+extClip)
	if err == nil {
		err = f.s.fs.SyncDir(f.dir)
	}
	if err != nil {
		return Object{}, cardError("renaming", err)
	}
	return f.s.enter(f.it, f.gen)
}

// Abort removes the unfinished clip; after Commit it does nothing.
func (f *File) Abort() error {
	if errors.Is(f.err, errClosed) || f.it == nil {
		return nil
	}
	err := f.discard()
	f.err = errClosed
	return cardError("removing an unfinished clip", err)
}

// discard removes what there is of the clip: the manifest first, because with
// it recovery would take the rest for a closed clip.
func (f *File) discard() error {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
	f.s.card.Lock()
	defer f.s.card.Unlock()
	path := filepath.Join(f.dir, f.it.name)
	err := f.s.removeAll(path+extManifest, path+extManifest+extTmp, path+extClip, path+extClip+extPart)
	f.s.abandon(f.it, f.gen)
	return err
}

// writeAll writes p; if the card says that it is full although our own count
// says otherwise, uploaded objects make room.
func (s *Spool) writeAll(w WFile, p []byte) (n int, err error) {
	for n < len(p) {
		var k int
		k, err = w.Write(p[n:])
		n += k
		if err == nil {
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return n, err
		}
		if err = s.evict(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeFile writes a whole file durably under a temporary name first. The
// caller holds card.
func (s *Spool) writeFile(path, ext string, data []byte) error {
	w, err := s.fs.Create(path + ext)
	if err != nil {
		return cardError("creating a file", err)
	}
	_, err = s.writeAll(w, data)
	if err == nil {
		err = w.Sync()
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = s.fs.Rename(path+ext, path)
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(path))
	}
	return cardError("writing "+filepath.Base(path), err)
}
