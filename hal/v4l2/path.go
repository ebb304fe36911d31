package v4l2

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// groupOf names the group that may use a file.
func groupOf(path string) string {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return `"video"`
	}
	id := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return fmt.Sprintf("%q", g.Name)
	}
	return id
}

// fileKind says in words what a path leads to.
func fileKind(path string) string {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "unknown"
	case fi.Mode().IsRegular():
		return "a regular file"
	case fi.IsDir():
		return "a folder"
	case fi.Mode()&fs.ModeCharDevice != 0:
		return "a device of another kind"
	}
	return "a " + fi.Mode().Type().String() + " file"
}
