package sysfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

func TestM13_Numbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"12": 12, " 48534\n": 48534, "-1000\n": -1000, "0.25": .25, "7 lux\n": 7, "9\x00\x00": 9} {
		if got, err := Number("x", text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "\n", "on", "NaN", "Inf", "-", "\x00"} {
		if got, err := Number("x", text); err == nil || !strings.Contains(err.Error(), "want a number") {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestM13_ErrorsAreOneLineOfTheirKind(t *testing.T) {
	t.Parallel()
	for no, kind := range map[unix.Errno]error{
		unix.ENOENT: hal.ErrNotFound, unix.EBUSY: hal.ErrBusy, unix.EACCES: fs.ErrPermission, unix.EPERM: fs.ErrPermission,
		unix.ENODEV: hal.ErrGone, unix.ENXIO: hal.ErrGone, unix.EINVAL: unix.EINVAL,
	} {
		for _, err := range []error{no, &fs.PathError{Op: "open", Path: "/y", Err: no}} {
			got := Explain(err, "/x")
			if !errors.Is(got, kind) || strings.ContainsAny(got.Error(), "\n") || strings.Count(got.Error(), "/x") != 1 {
				t.Errorf("%v: %v, want %v", no, got, kind)
			}
		}
	}
	if got := Explain(unix.EACCES, "/x").Error(); !strings.Contains(got, "run as root") {
		t.Errorf("%q does not say what to do", got)
	}
}

func TestM13_FilesAreNeverMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "brightness")
	if err := Write(path, "1"); !errors.Is(err, hal.ErrNotFound) || Exists(path) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("255\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, "1"); err != nil {
		t.Fatal(err)
	}
	if text, err := Read(path); err != nil || text != "1" {
		t.Fatalf("%q, %v", text, err)
	}
	for _, name := range []string{"event10", "event9", "event2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := Names(List(dir, "event[0-9]*")); got != "event2, event9, event10" {
		t.Error(got)
	}
}
