package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

// cpio writes an archive in the format that the kernel unpacks ("newc",
// Documentation/driver-api/early-userspace/buffer-format.rst). It is not
// compressed: an emulated CPU takes longer to unpack than the host to write.
type cpio struct {
	w    *bufio.Writer
	ino  int
	dirs map[string]bool
	err  error
}

func newCPIO(w io.Writer) *cpio {
	return &cpio{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{".": true, "/": true}}
}

// add writes a file, and before it the folders above it.
func (c *cpio) add(name string, mode fs.FileMode, data []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	c.mkdir(path.Dir(name))
	c.entry(name, 0o100000|int(mode.Perm()), data)
}

func (c *cpio) mkdir(name string) {
	if c.dirs[name] {
		return
	}
	c.mkdir(path.Dir(name))
	c.dirs[name] = true
	c.entry(name, 0o040755, nil)
}

func (c *cpio) entry(name string, mode int, data []byte) {
	if c.err != nil {
		return
	}
	c.ino++
	const links, magic = 1, "070701"
	head := magic
	for _, v := range []int{c.ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
		head += fmt.Sprintf("%08X", v)
	}
	c.padded([]byte(head + name + "\x00"))
	c.padded(data)
}

func (c *cpio) padded(b []byte) {
	if _, err := c.w.Write(b); err != nil {
		c.err = err
		return
	}
	_, c.err = c.w.Write(make([]byte, (4-len(b)%4)%4))
}

func (c *cpio) close() error {
	c.entry("TRAILER!!!", 0, nil)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}

// writeImage writes the machine's first file system.
func (m *machine) writeImage(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	c := newCPIO(f)
	for _, guest := range slices.Sorted(maps.Keys(m.files)) {
		info, err := os.Stat(m.files[guest])
		if err != nil {
			return err
		}
		data, err := os.ReadFile(m.files[guest])
		if err != nil {
			return err
		}
		c.add(guest, info.Mode(), data)
	}
	text, err := m.plan.Encode()
	if err != nil {
		return err
	}
	c.add(plan.Path, 0o644, text)
	c.add("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	for _, s := range m.plan.Steps {
		c.mkdir(strings.TrimPrefix(s.Dir, "/"))
	}
	return c.close()
}
