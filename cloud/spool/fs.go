package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"iid2secure.nl/camagent/cloud/durable"
)

// FS is what a Spool needs of a file system; paths are absolute or relative to
// the process, as os takes them. Tests put one in between that fails, forgets
// what was not synced, or is slow.
type FS interface {
	Create(path string) (WFile, error) // new file, mode 0600; fails if it exists
	Open(path string) (io.ReadSeekCloser, error)
	ReadDir(path string) ([]fs.DirEntry, error)
	Stat(path string) (fs.FileInfo, error)
	Mkdir(path string) error                 // mode 0700, no error if it is there; what it is made of is durable
	Rename(from, to string) error            // the file's bytes are durable
	Remove(path string) error                // file or empty folder
	Truncate(path string, size int64) error  // durably
	SyncDir(path string) error               // makes names in it durable
	Free(path string) (int64, error)         // bytes
	Lock(path string) (io.Closer, error)     // a folder, exclusive between processes
	SameFS(path, other string) (bool, error) // do both lie on one file system
}

// WFile is a file being written.
type WFile interface {
	io.WriteCloser
	Sync() error
}

// osFS is the operating system's file system.
type osFS struct{}

func (osFS) Create(path string) (WFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
func (osFS) Open(path string) (io.ReadSeekCloser, error) { return os.Open(path) }
func (osFS) ReadDir(path string) ([]fs.DirEntry, error)  { return os.ReadDir(path) }
func (osFS) Stat(path string) (fs.FileInfo, error)       { return os.Stat(path) }
func (osFS) Remove(path string) error                    { return os.Remove(path) }

// Rename syncs the file, too: on a FAT its new name holds size and place of the
// bytes, which the folder's fsync alone may leave out.
func (osFS) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return durable.SyncDir(to) // it does what a file needs
}

func (osFS) Truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (osFS) Mkdir(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil {
		return durable.SyncDir(path) // on a FAT it is made of bytes, too
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (osFS) SyncDir(path string) error { return durable.SyncDir(path) }

func (osFS) Free(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // the fields' types differ by architecture
}

func (osFS) Lock(path string) (io.Closer, error) {
	f, err := os.Open(path) // the folder itself: works on a full or read-only card
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

func (osFS) SameFS(path, other string) (bool, error) {
	var a, b syscall.Stat_t
	if err := syscall.Stat(path, &a); err != nil {
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := syscall.Stat(other, &b); err != nil {
		return false, &fs.PathError{Op: "stat", Path: other, Err: err}
	}
	return a.Dev == b.Dev, nil
}
