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
// as a card does, what was not synced. Two kinds of file system:
//
//   - with a journal (ext4): changes of names survive in their order, and each
//     fsync makes all before it durable; a file's last bytes may be missing.
//   - a FAT: each name survives or not for itself, until its folder is synced: of
//     a rename the old one, the new one, both or none are left; a file's last
//     bytes may be missing, or anything.
type memFS struct {
	mu       sync.Mutex
	fat      bool
	dirs     map[string]*memDir
	journal  []change // since the last fsync, without fat
	capacity int64    // 0: endless
	ops      int
	cutAt    int // operations from here on fail; 0: never
	fail     func(op, path string) error
	locked   bool
}

// change is one change of a name; f nil: it goes.
type change struct {
	dir, name string
	f         *memFile
	with      *change // a rename is both or none
}

// changed notes a change of a name for the journal.
func (m *memFS) changed(path string, f *memFile) {
	m.journal = append(m.journal, change{filepath.Dir(path), filepath.Base(path), f, nil})
}

func (c change) apply(names map[string]*memFile) {
	if c.f == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.f
	}
}

// flush is what each fsync does on a file system with a journal.
func (m *memFS) flush() {
	if m.fat {
		return
	}
	for _, c := range m.journal {
		for c := &c; c != nil; c = c.with {
			if d := m.dirs[c.dir]; d != nil {
				c.apply(d.synced)
			}
		}
	}
	m.journal = nil
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
	out := &memFS{dirs: map[string]*memDir{}, capacity: m.capacity, fat: m.fat}
	for path, d := range m.dirs {
		names := cloneMap(d.synced)
		if m.fat {
			for _, name := range slices.Sorted(unionKeys(d.now, d.synced)) {
				if f := d.now[name]; f != d.synced[name] && rng.Float64() < keep {
					change{name: name, f: f}.apply(names)
				}
			}
		}
		out.dirs[path] = &memDir{now: names, synced: cloneMap(names)}
	}
	for _, c := range m.journal {
		if m.fat || rng.Float64() >= keep {
			break
		}
		for c := &c; c != nil; c = c.with {
			if d := out.dirs[c.dir]; d != nil {
				c.apply(d.now)
			}
		}
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
				if m.fat && rng.Float64() < keep { // the length was written, the bytes were not
					for i := old.synced; i < n; i++ {
						f.data[i] = byte(rng.Uint32())
					}
				}
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
	m.changed(path, f)
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
	w.m.flush()
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
		m.flush()
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
	f = &memFile{dir: true}
	d.now[filepath.Base(path)] = f
	m.changed(path, f)
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
	m.journal = append(m.journal, change{filepath.Dir(to), filepath.Base(to), f, &change{dir: filepath.Dir(from), name: filepath.Base(from)}})
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
	m.changed(path, nil)
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
	m.flush()
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
