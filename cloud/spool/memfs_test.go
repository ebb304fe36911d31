package spool

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing/fstest"
	"time"
)

// memFS is a card in memory that can be cut at the n-th operation and forgets,
// as a card does, what was not synced: bytes without fsync of the file, names
// without fsync of the folder.
type memFS struct {
	mu       sync.Mutex
	dirs     map[string]*memDir
	capacity int64 // 0: endless
	ops      int
	cutAt    int // operations from here on fail; 0: never
	fail     func(op, path string) error
	locked   bool
}

// memDir holds the names as the kernel sees them, and as the card holds them.
type memDir struct{ now, synced map[string]*memFile }

// memFile is a file (dir nil) or names a folder of memFS.dirs.
type memFile struct {
	dir    bool
	data   []byte
	synced int // bytes that survive
}

func newMemFS() *memFS {
	m := &memFS{dirs: map[string]*memDir{}}
	m.dirs["/mnt"] = &memDir{now: map[string]*memFile{}, synced: map[string]*memFile{}}
	return m
}

var errCut = &fs.PathError{Op: "cut", Path: "card", Err: syscall.EIO}

// step counts an operation and fails it if the power is gone.
func (m *memFS) step(op, path string) error {
	m.ops++
	if m.cutAt > 0 && m.ops >= m.cutAt {
		return errCut
	}
	if m.fail != nil {
		return m.fail(op, path)
	}
	return nil
}

// powerCut returns the card as it is found afterwards. keep is the chance that
// a change of a name, or a byte, survives although nobody synced it.
func (m *memFS) powerCut(rng *rand.Rand, keep float64) *memFS {
	out := &memFS{dirs: map[string]*memDir{}, capacity: m.capacity}
	for path, d := range m.dirs {
		names := map[string]*memFile{}
		for _, name := range slices.Sorted(unionKeys(d.now, d.synced)) {
			f := d.synced[name]
			if f != d.now[name] && rng.Float64() < keep {
				f = d.now[name]
			}
			if f != nil {
				names[name] = f
			}
		}
		out.dirs[path] = &memDir{now: names, synced: cloneMap(names)}
	}
	out.settleFiles(rng, keep)
	return out
}

// settleFiles cuts files to what survives, drops folders nobody names, and a
// second name of a file that a rename between folders has left.
func (m *memFS) settleFiles(rng *rand.Rand, keep float64) {
	seen := map[*memFile]*memFile{}
	for _, path := range slices.Sorted(keysOf(m.dirs)) {
		d := m.dirs[path]
		for _, name := range slices.Sorted(keysOf(d.now)) {
			old := d.now[name]
			if old.dir {
				if m.dirs[filepath.Join(path, name)] == nil {
					delete(d.now, name)
				}
				continue
			}
			f := seen[old]
			if f == nil {
				n := old.synced
				if len(old.data) > n && rng.Float64() < keep {
					n += rng.IntN(len(old.data) - n + 1)
				}
				f = &memFile{data: slices.Clone(old.data[:n]), synced: n}
				seen[old] = f
			}
			d.now[name] = f
		}
		d.synced = cloneMap(d.now)
	}
	for path := range m.dirs {
		if path != "/mnt" && !m.reachable(path) {
			delete(m.dirs, path)
		}
	}
}

func (m *memFS) reachable(path string) bool {
	for path != "/mnt" {
		parent := m.dirs[filepath.Dir(path)]
		if parent == nil || parent.now[filepath.Base(path)] == nil {
			return false
		}
		path = filepath.Dir(path)
	}
	return true
}

func keysOf[V any](a map[string]V) func(func(string) bool) { return unionKeys(a, nil) }

func unionKeys[V any](a, b map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, both := a[k]; !both && !yield(k) {
				return
			}
		}
	}
}

func cloneMap(a map[string]*memFile) map[string]*memFile {
	out := map[string]*memFile{}
	for k, v := range a {
		out[k] = v
	}
	return out
}

func (m *memFS) find(path string) (*memDir, *memFile, error) {
	d := m.dirs[filepath.Dir(path)]
	if d == nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	f := d.now[filepath.Base(path)]
	if f == nil {
		return d, nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	return d, f, nil
}

func (m *memFS) usedLocked() (n int64) {
	for _, d := range m.dirs {
		for _, f := range d.now {
			n += int64(len(f.data))
		}
	}
	return n
}

// objectBytes leaves out what is no object's.
func (m *memFS) objectBytes() (n int64) {
	for path, d := range m.dirs {
		for _, f := range d.now {
			if filepath.Base(path) != dirIndex {
				n += int64(len(f.data))
			}
		}
	}
	return n
}

func (m *memFS) Create(path string) (WFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("create", path); err != nil {
		return nil, err
	}
	d, f, err := m.find(path)
	if d == nil {
		return nil, err
	}
	if f != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: syscall.EEXIST}
	}
	f = &memFile{}
	d.now[filepath.Base(path)] = f
	return &memW{m, f, path}, nil
}

type memW struct {
	m    *memFS
	f    *memFile
	path string
}

func (w *memW) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err := w.m.step("write", w.path); err != nil {
		w.f.data = append(w.f.data, p[:len(p)/2]...) // a cut tears the write
		return len(p) / 2, err
	}
	if w.m.capacity > 0 {
		if room := w.m.capacity - w.m.usedLocked(); room < int64(len(p)) {
			w.f.data = append(w.f.data, p[:room]...)
			return int(room), &fs.PathError{Op: "write", Path: w.path, Err: syscall.ENOSPC}
		}
	}
	w.f.data = append(w.f.data, p...)
	return len(p), nil
}

func (w *memW) Sync() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err := w.m.step("sync", w.path); err != nil {
		return err
	}
	w.f.synced = len(w.f.data)
	return nil
}

func (w *memW) Close() error { return nil }

type memR struct{ *strings.Reader }

func (memR) Close() error { return nil }

func (m *memFS) Open(path string) (io.ReadSeekCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("open", path); err != nil {
		return nil, err
	}
	_, f, err := m.find(path)
	if err != nil {
		return nil, err
	}
	return memR{strings.NewReader(string(f.data))}, nil
}

func (m *memFS) ReadDir(path string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("readdir", path); err != nil {
		return nil, err
	}
	d := m.dirs[path]
	if d == nil {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: syscall.ENOENT}
	}
	tree := fstest.MapFS{}
	for name, f := range d.now {
		mode := fs.FileMode(0o600)
		if f.dir {
			mode = fs.ModeDir | 0o700
		}
		tree[name] = &fstest.MapFile{Data: f.data, Mode: mode, ModTime: time.Unix(0, 0)}
	}
	return tree.ReadDir(".")
}

func (m *memFS) Stat(path string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[path] != nil {
		return fstest.MapFS{}.Stat(".")
	}
	_, f, err := m.find(path)
	if err != nil {
		return nil, err
	}
	return fstest.MapFS{"x": &fstest.MapFile{Data: f.data, Mode: 0o600}}.Stat("x")
}

func (m *memFS) Truncate(path string, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("truncate", path); err != nil {
		return err
	}
	_, f, err := m.find(path)
	if err == nil {
		f.data = f.data[:size]
		f.synced = int(size)
	}
	return err
}

func (m *memFS) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("mkdir", path); err != nil {
		return err
	}
	d, f, err := m.find(path)
	if f != nil {
		return nil
	}
	if d == nil {
		return err
	}
	d.now[filepath.Base(path)] = &memFile{dir: true}
	m.dirs[path] = &memDir{now: map[string]*memFile{}, synced: map[string]*memFile{}}
	return nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("rename", from); err != nil {
		return err
	}
	d, f, err := m.find(from)
	if err != nil {
		return err
	}
	t := m.dirs[filepath.Dir(to)]
	if t == nil {
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.ENOENT}
	}
	delete(d.now, filepath.Base(from))
	t.now[filepath.Base(to)] = f
	return nil
}

func (m *memFS) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("remove", path); err != nil {
		return err
	}
	d, f, err := m.find(path)
	if err != nil {
		return err
	}
	if f.dir {
		if len(m.dirs[path].now) > 0 {
			return &fs.PathError{Op: "remove", Path: path, Err: syscall.ENOTEMPTY}
		}
		delete(m.dirs, path)
		delete(d.synced, filepath.Base(path)) // a folder comes back empty at most
	}
	delete(d.now, filepath.Base(path))
	return nil
}

func (m *memFS) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("syncdir", path); err != nil {
		return err
	}
	d := m.dirs[path]
	if d == nil {
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	d.synced = cloneMap(d.now)
	return nil
}

func (m *memFS) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity == 0 {
		return 1 << 40, nil
	}
	return m.capacity - m.usedLocked(), nil
}

type unlocker func()

func (u unlocker) Close() error { u(); return nil }

func (m *memFS) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: syscall.EWOULDBLOCK}
	}
	m.locked = true
	return unlocker(func() { m.mu.Lock(); m.locked = false; m.mu.Unlock() }), nil
}

func (m *memFS) SameFS(string, string) (bool, error) { return true, nil }
