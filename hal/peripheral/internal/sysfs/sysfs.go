// Package sysfs reads and writes the one-value files of /sys, and says in one
// line what was wrong: no such device ([hal.ErrNotFound]), in use
// ([hal.ErrBusy]), no permission ([io/fs.ErrPermission]), or gone ([hal.ErrGone]).
package sysfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

// longest is the size of a page: no attribute is longer.
const longest = 4096

// Read returns the text of a file, without white space around it.
func Read(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", Explain(err, path)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return "", Explain(err, path)
	}
	return strings.TrimSpace(string(b)), nil
}

// ReadNumber returns the number that a file holds; white space and text after
// it are not looked at.
func ReadNumber(path string) (float64, error) {
	text, err := Read(path)
	if err != nil {
		return 0, err
	}
	return Number(path, text)
}

// Number is the number at the front of text, which came from path.
func Number(path, text string) (float64, error) {
	word, _, _ := strings.Cut(strings.TrimLeft(text, " \t\n"), " ")
	v, err := strconv.ParseFloat(strings.Trim(word, "\x00\r\n\t"), 64)
	if err != nil || v-v != 0 { // not finite
		return 0, fmt.Errorf("%s gives %.40q, want a number", path, text)
	}
	return v, nil
}

// Write writes the value of a file that is there.
func Write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return Explain(err, path)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return Explain(err, path)
	}
	return nil
}

// Exists tells whether there is something at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// List returns what matches pattern below dir, event2 before event10.
func List(dir, pattern string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is ours, and right
	sort.Slice(list, func(i, k int) bool {
		a, b := list[i], list[k]
		return len(a) < len(b) || len(a) == len(b) && a < b
	})
	return list
}

// Names returns the last elements of paths, for an error that lists what there is.
func Names(paths []string) string {
	if len(paths) == 0 {
		return "none"
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	return strings.Join(names, ", ")
}

// Explain makes one line of an error at a device, with the kind that package
// hal has for it.
func Explain(err error, what string) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", hal.ErrNotFound, what)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s: %w", what, hal.ErrBusy)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: run as root, or give the user of camagent access to it", what, err)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: %w", what, hal.ErrGone)
	}
	return fmt.Errorf("%s: %w", what, err)
}
