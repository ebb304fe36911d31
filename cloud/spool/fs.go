package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"iid2secure.nl/camagent/cloud/durable"
)

// FS is what a Spool needs of a file system; paths are absolute or relative to
// the process, as os takes them. Tests put one in between that fails, forgets
// what was not synced, or is slow.
//
// Below the card's folder there are regular files and real folders for it, nothing
// else: links are not followed, pipes and devices not opened. Stat tells of those,
// too, Remove removes them.
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

// osFS is the operating system's file system, below the card's folder dir; of what
// is not below it, only folders are used, as their owner has made them.
//
// Who had the card in his hands may have put anything on it. A link could lead to
// the camera's keys, or have clips written elsewhere; a pipe is never done with
// opening. So each step goes through an os.Root, and nothing but files and folders
// is taken.
type osFS struct{ dir string }

// errOdd is what Open and the like say of what is neither; it stays as it is.
var errOdd = errors.New("neither a file nor a folder of the card's: it is left alone")

func odd(path string) error { return &fs.PathError{Op: "open", Path: path, Err: errOdd} }

// below tells the path of what lies on the card, from its folder.
func (f osFS) below(path string) (rel string, ok bool) {
	rel, err := filepath.Rel(f.dir, path)
	return rel, err == nil && rel != "." && filepath.IsLocal(rel)
}

// in does something on the card, if all folders on the way are real ones.
func (f osFS) in(path string, do func(r *os.Root, rel string) error) error {
	rel, ok := f.below(path)
	if !ok {
		return &fs.PathError{Op: "open", Path: path, Err: errors.New("not on the card")}
	}
	r, err := os.OpenRoot(f.dir)
	if err != nil {
		return err
	}
	defer r.Close()
	for i, c := range rel {
		if c != filepath.Separator {
			continue
		}
		if st, err := r.Lstat(rel[:i]); err != nil {
			return err
		} else if !st.IsDir() {
			return odd(path)
		}
	}
	return do(r, rel)
}

// open opens a regular file that is there, or with dir a folder.
func (f osFS) open(path string, flag int, dir bool) (file *os.File, err error) {
	right := func(st fs.FileInfo) bool { return dir && st.IsDir() || !dir && st.Mode().IsRegular() }
	err = f.in(path, func(r *os.Root, rel string) error {
		st, err := r.Lstat(rel)
		if err == nil && !right(st) {
			err = odd(path)
		}
		if err != nil {
			return err
		}
		if file, err = r.OpenFile(rel, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0); err != nil {
			return err
		}
		if st, err = file.Stat(); err == nil && !right(st) {
			err = odd(path)
		}
		if err != nil {
			file.Close()
		}
		return err
	})
	return file, err
}

func (f osFS) Create(path string) (w WFile, err error) {
	err = f.in(path, func(r *os.Root, rel string) error {
		w, err = r.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	return w, err
}

func (f osFS) Open(path string) (io.ReadSeekCloser, error) {
	file, err := f.open(path, os.O_RDONLY, false)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// ReadDir reads by the path once that has been looked at: of what is opened below a
// Root, each entry would be asked for at once, which makes a start much slower.
// Most of the folders that a start asks for are not there.
func (f osFS) ReadDir(path string) ([]fs.DirEntry, error) {
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	st, err := f.Stat(path)
	if err == nil && !st.IsDir() {
		err = odd(path)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadDir(path)
}

func (f osFS) Stat(path string) (st fs.FileInfo, err error) {
	if _, ok := f.below(path); !ok {
		return os.Stat(path)
	}
	err = f.in(path, func(r *os.Root, rel string) error { st, err = r.Lstat(rel); return err })
	return st, err
}

func (f osFS) Remove(path string) error { return f.in(path, (*os.Root).Remove) }

// Rename syncs the file, too: on a FAT its new name holds size and place of the
// bytes, which the folder's fsync alone may leave out.
func (f osFS) Rename(from, to string) error {
	err := f.in(from, func(_ *os.Root, old string) error {
		return f.in(to, func(r *os.Root, rel string) error { return r.Rename(old, rel) })
	})
	if err != nil {
		return err
	}
	file, err := f.open(to, os.O_RDONLY, false)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (f osFS) Truncate(path string, size int64) error {
	file, err := f.open(path, os.O_WRONLY, false)
	if err != nil {
		return err
	}
	err = file.Truncate(size)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f osFS) Mkdir(path string) error {
	var err error
	if _, ok := f.below(path); ok {
		err = f.in(path, func(r *os.Root, rel string) error { return r.Mkdir(rel, 0o700) })
	} else {
		err = os.Mkdir(path, 0o700)
	}
	switch {
	case err == nil:
		return f.SyncDir(path) // on a FAT it is made of bytes, too
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if st, err := f.Stat(path); err != nil {
		return err
	} else if !st.IsDir() {
		return odd(path)
	}
	return nil
}

func (f osFS) SyncDir(path string) error {
	if _, ok := f.below(path); !ok {
		return durable.SyncDir(path)
	}
	dir, err := f.open(path, os.O_RDONLY, true)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

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
