package kernel

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The numbers are those of the kernel's headers for two well-known calls.
func TestNumber(t *testing.T) {
	t.Parallel()
	querycap, prepare, start := uintptr(0x80685600), uintptr(0x4140), uintptr(0x40045612)
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		querycap, prepare, start = 0x40685600, 0x20004140, 0x80045612
	}
	for _, c := range []struct{ is, want uintptr }{
		{Number(Read, 'V', 0, 104), querycap}, {Number(None, 'A', 0x40, 0), prepare}, {Number(Write, 'V', 18, 4), start},
	} {
		if c.is != c.want {
			t.Errorf("%#x, want %#x", c.is, c.want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a\x00b": "a", "abc": "abc", "\x00": ""} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	const clock = unix.CLOCK_MONOTONIC
	at := When(Now(clock)-5*time.Second, unix.CLOCK_REALTIME, clock)
	if age := time.Since(at); age < 5*time.Second || age > 10*time.Second {
		t.Errorf("five seconds ago is %v ago", age)
	}
	for _, odd := range []time.Duration{0, 1 << 62, Now(clock) + time.Hour} {
		if age := time.Since(When(odd, clock)); age < 0 || age > time.Hour {
			t.Errorf("the odd stamp %v is %v ago", odd, age)
		}
	}
}

func TestOpenError(t *testing.T) {
	t.Parallel()
	for err, kind := range map[error]error{
		unix.ENOENT: hal.ErrNotFound, unix.ENOTDIR: hal.ErrNotFound, unix.EACCES: fs.ErrPermission, unix.EBUSY: hal.ErrBusy,
		unix.EAGAIN: hal.ErrBusy, unix.ENODEV: hal.ErrGone, unix.EMFILE: unix.EMFILE,
	} {
		if got := OpenError("/dev/null", err, ": want another"); !errors.Is(got, kind) || !strings.Contains(got.Error(), "/dev/null") {
			t.Errorf("%v becomes %q, want %v", err, got, kind)
		}
	}
}

func TestFileKind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{dir: "a folder", dir + "/fifo": "a FIFO", dir + "/none": "unknown", "/dev/null": "a device of another kind"} {
		if is := FileKind(path); is != want {
			t.Errorf("%s is %s, want %s", path, is, want)
		}
	}
}

func TestWaiter(t *testing.T) {
	t.Parallel()
	w, err := NewWaiter()
	if err != nil {
		t.Fatal(err)
	}
	w.Wake() // before the wait: it is not lost
	if ev, err := w.Wait(-1, 0, -1); ev != 0 || err != nil {
		t.Fatal(ev, err)
	}
	begin := time.Now()
	if ev, err := w.Wait(-1, 0, 30*time.Millisecond); ev != 0 || err != nil || time.Since(begin) < 30*time.Millisecond {
		t.Fatal(ev, err, time.Since(begin))
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	done := make(chan int16)
	go func() { ev, _ := w.Wait(p[0], unix.POLLIN, -1); done <- ev }()
	w.Wake()
	if ev := <-done; ev != 0 {
		t.Error("woken, but told", ev)
	}
	unix.Close(p[1])
	if ev, err := w.Wait(p[0], unix.POLLIN, -1); ev&unix.POLLHUP == 0 || err != nil {
		t.Error("no word of the other end: ", ev, err)
	}
	set := []unix.PollFd{{Fd: -1}, {Fd: int32(p[0]), Events: unix.POLLIN}}
	if err := w.Poll(set, -1); err != nil || set[0].Revents != 0 || set[1].Revents&unix.POLLHUP == 0 {
		t.Error("of several: ", set, err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error("close twice: ", err)
		}
	}
	w.Wake() // too late, and harmless
}
