package verify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Store is where a camera's objects lie: a folder, or what a cloud keeps.
type Store interface {
	// Each hands every object to fn, in any order.
	Each(ctx context.Context, fn func(Object)) error
	// Open opens one of them; from several goroutines at once.
	Open(ctx context.Context, o Object) (io.ReadCloser, error)
}

// Object is one file of a store.
type Object struct {
	Path string // where it lies, as its owner is told
	Name string // the file's name alone
	Size int64  // in bytes, as the store says
}

// Folder is a folder with what is below it: files as they lie on a card, or as
// they were copied.
type Folder struct{ dir string }

// NewFolder checks that there is such a folder.
func NewFolder(dir string) (Folder, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "verify", Path: dir, Err: errors.New("is no folder")}
	}
	return Folder{dir}, err
}

// Each implements Store. A file that vanishes meanwhile, because a camera works
// on the card, is left out.
func (f Folder) Each(ctx context.Context, fn func(Object)) error {
	return filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) && path != f.dir {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		shown, _ := strings.CutPrefix(path, filepath.Clean(f.dir)+string(filepath.Separator))
		fn(Object{Path: shown, Name: d.Name(), Size: info.Size()})
		return nil
	})
}

// Open implements Store.
func (f Folder) Open(_ context.Context, o Object) (io.ReadCloser, error) {
	return os.Open(filepath.Join(f.dir, o.Path))
}
