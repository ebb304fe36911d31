//go:build powercut

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is an image with an ext4 file system on a loop device.
type disk struct {
	t          testing.TB
	image, dir string // dir is where it is mounted
}

// newDisk makes a disk of so many MB, mounted at dir. It ends with the test.
func newDisk(t testing.TB, dir string, mb int64) *disk {
	t.Helper()
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), dir: dir}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, mb<<20); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-m", "0", d.image)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.mount()
	t.Cleanup(func() { exec.Command("umount", "-l", d.dir).Run() }) //nolint:errcheck // it may be out already
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	// The cleanup of a test that failed unmounts, too.
	if out, err := exec.CommandContext(context.WithoutCancel(d.t.Context()), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (d *disk) mount() { d.t.Helper(); d.run("mount", "-o", "loop", d.image, d.dir) }

// unmount waits for those who were killed to let go.
func (d *disk) unmount() {
	d.t.Helper()
	for range 100 {
		err := unix.Unmount(d.dir, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY {
			d.t.Fatalf("unmount %s: %v", d.dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Fatalf("%s is busy for a second", d.dir)
}

// sync has all that was written in the image.
func (d *disk) sync() { d.t.Helper(); d.run("sync", "-f", d.dir) }

// The ioctl by which file systems are stopped for tests like this one, and its
// flag that nothing more goes out, the journal included (linux/fs/ext4/ext4.h).
const (
	ioctlShutdown = 0x8004587d // _IOR('X', 125, __u32)
	noLogFlush    = 2
)

// switchOff is the plug: from now on nothing reaches any of the disks.
func switchOff(disks ...*disk) error {
	files := make([]*os.File, len(disks))
	for i, d := range disks {
		f, err := os.Open(d.dir)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	for _, f := range files {
		flags := uint32(noLogFlush)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
			return fmt.Errorf("shutting %s down: %w", f.Name(), e)
		}
	}
	return nil
}

// switchOn replays the journal, has the file system checked, and mounts it again.
func (d *disk) switchOn() {
	d.t.Helper()
	d.mount()
	d.unmount()
	d.run("fsck.ext4", "-fn", d.image)
	d.mount()
}
