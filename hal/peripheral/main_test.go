package peripheral

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree makes a directory with files, as /sys has them.
func tree(t testing.TB, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for path, content := range files {
		put(t, root, path, content)
	}
	return root
}

func put(t testing.TB, root, path, content string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, root, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// holds compares files with what should be in them.
func holds(t testing.TB, root string, want map[string]string) {
	t.Helper()
	for path, content := range want {
		if got := read(t, root, path); got != content {
			t.Errorf("%s holds %q, want %q", path, got, content)
		}
	}
}

// opened makes a Set that is closed at the end.
func opened(t testing.TB, c Config) *Set {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func part[T any](t testing.TB, s *Set) T {
	t.Helper()
	p, ok := hal.As[T](s)
	if !ok {
		t.Fatalf("the set has no %T", *new(T))
	}
	return p
}

// gpioTree has sysfs lines by number, exported, as a board's script left them.
func gpioTree(t testing.TB, lines ...string) (root string) {
	t.Helper()
	files := map[string]string{"sys/class/gpio/export": "", "sys/class/gpio/unexport": ""}
	for _, n := range lines {
		dir := "sys/class/gpio/gpio" + n + "/"
		files[dir+"direction"], files[dir+"active_low"], files[dir+"value"] = "in", "0", "0\n"
	}
	return tree(t, files)
}

// set changes an input as the world does: without a moment of an empty file.
func set(t testing.TB, root, line string, value byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "sys/class/gpio/gpio"+line+"/value"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{value}, 0); err != nil {
		t.Fatal(err)
	}
}

func value(t testing.TB, root, line string) byte {
	t.Helper()
	return read(t, root, "sys/class/gpio/gpio"+line+"/value")[0]
}

// descriptors counts the open files of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
