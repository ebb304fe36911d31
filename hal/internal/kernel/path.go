package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

// OpenError says why a device's node can't be opened, in hal's words; missing is
// what to do if there is none.
func OpenError(path string, err error, missing string) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %s%s", hal.ErrNotFound, path, missing)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: run camagent as a member of group %s", path, fs.ErrPermission, groupOf(path))
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EAGAIN):
		return Busy(path)
	case Gone(err):
		return fmt.Errorf("%w: %s: %w", hal.ErrGone, path, err)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// Busy says that another program has the device.
func Busy(path string) error {
	return fmt.Errorf("%s is %w by another program: stop it (\"fuser -v %s\" names it)", path, hal.ErrBusy, path)
}

// groupOf names the group that may use a file, quoted.
func groupOf(path string) string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return "unknown"
	}
	id := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return fmt.Sprintf("%q", g.Name)
	}
	return id
}

// FileKind says in words what a path leads to.
func FileKind(path string) string {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "unknown"
	case fi.Mode().IsRegular():
		return "a regular file"
	case fi.IsDir():
		return "a folder"
	case fi.Mode()&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case fi.Mode()&fs.ModeCharDevice != 0:
		return "a device of another kind"
	}
	return "a " + fi.Mode().Type().String() + " file"
}

// Gone tells whether an error is that of a device that was pulled.
func Gone(err error) bool {
	for _, e := range []error{unix.ENODEV, unix.ENXIO, unix.EIO, unix.ESHUTDOWN, unix.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
