// Package files writes what the owner asked for so that nobody ever finds a
// piece of it: a private temporary file in the same folder, fsync, rename. What
// is written here may be decrypted pictures: files are 0600, and one that was
// not committed is removed.
package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"iid2secure.nl/camagent/cloud/durable"
)

// File is a file that does not have its name yet. Not for several goroutines.
type File struct {
	*os.File
	path string
	done bool
}

// Create begins a file that will replace path.
func Create(path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, &fs.PathError{Op: "write", Path: path, Err: errors.New("is a folder, want a file")}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".camctl-*.part")
	if err != nil {
		return nil, bare(path, err)
	}
	return &File{File: f, path: path}, nil
}

// Commit makes it durable and gives it its name.
func (f *File) Commit() error {
	if f.done {
		return os.ErrClosed
	}
	f.done = true
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(bare(f.path, err), os.Remove(f.Name()))
	}
	return durable.SyncDir(filepath.Dir(f.path))
}

// Abort removes it, unless it is committed; to be deferred.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.Close()
	os.Remove(f.Name())
}

// Write puts data at path as a whole.
func Write(path string, data []byte) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return bare(path, err)
	}
	return f.Commit()
}

// bare names the file that the user named, not the temporary one.
func bare(path string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: path, Err: p.Err}
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return &fs.PathError{Op: l.Op, Path: path, Err: l.Err}
	}
	return &fs.PathError{Op: "write", Path: path, Err: err}
}
