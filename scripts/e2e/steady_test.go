package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/stack"
)

// trouble is how long each thing goes wrong, once the camera knows.
const trouble = 2 * time.Second

// TestR1_ViewerMissesNothingWhateverElseGoesWrong lets one thing after the other
// go wrong that is no matter of the live view, while a viewer counts the frames.
func TestR1_ViewerMissesNothingWhateverElseGoesWrong(t *testing.T) {
	t.Parallel()
	needTools(t, map[string]string{"nsenter": "util-linux", "mount": "mount"})
	st, args := startStorage(t)
	opt := withStorage(st, args)
	k := newCard(t)
	opt.Camera = map[string]any{
		"card":   map[string]any{"dir": k.dir, "require_mount": true},
		"record": map[string]any{"clip_length": "2s"},
	}
	s := k.newStackWith(t, opt)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := liveOf(t, s)["main"]
	recordsAndUploads(t, s, 0)
	lost := lostOf(t, s, "main")
	began, v := time.Now(), watch(t.Context(), address, "tcp")

	s.Cloud.Kill()
	eventually(t, 10*time.Second, "the camera knows that the broker is away", func() bool { return s.Logged("broker.*(lost|refused|EOF|reset)") })
	after(t, trouble)
	if err := s.StartCloud(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the camera is back", func() bool {
		_, err := s.Ctl(t.Context(), "status")
		return err == nil
	})
	st.stop(t)
	eventually(t, 20*time.Second, "uploads that fail", func() bool { return status(t, s).Upload.Pending > 0 })
	after(t, trouble)
	st.start(t)
	for _, bad := range []struct {
		what       string
		begin, end func(*testing.T)
	}{{"full", k.fill, k.empty}, {"pulled", k.pull, k.putBack}, {"read-only", k.protect, k.unprotect}} {
		bad.begin(t)
		eventually(t, 20*time.Second, "the card is "+bad.what, func() bool { return told(t, s, "card") })
		after(t, trouble)
		bad.end(t)
		eventually(t, 20*time.Second, "the card was "+bad.what, func() bool { return !told(t, s, "card") })
	}
	slowViewers(t, s, address)
	recordsAndUploads(t, s, status(t, s).Recording.Clips)

	noneMissing(t, v.stop(t), time.Since(began), lostOf(t, s, "main")-lost)
}

func told(t *testing.T, s *stack.Stack, condition string) bool {
	t.Helper()
	return slices.ContainsFunc(status(t, s).Conditions, func(c command.Condition) bool { return c.Code == condition })
}

// recordsAndUploads waits until clips more than so many are stored and uploaded.
func recordsAndUploads(t *testing.T, s *stack.Stack, clips uint64) {
	t.Helper()
	eventually(t, 30*time.Second, "a clip recorded, and all uploaded", func() bool {
		st := status(t, s)
		return st.Recording.Clips > clips && st.Upload.Pending == 0
	})
}

// noneMissing looks whether every frame from the first to the last is there, but
// what the device lost, and whether the first and the last are where they must be.
func noneMissing(t *testing.T, list []seen, span time.Duration, lost int) {
	t.Helper()
	if len(list) == 0 {
		t.Fatal("no picture")
	}
	missed := 0
	for i := 1; i < len(list); i++ {
		switch step := int(list[i].frame) - int(list[i-1].frame); {
		case step < 1:
			t.Fatalf("frame %d comes after %d", list[i].frame, list[i-1].frame)
		case step > 1:
			t.Logf("%d frames missing after %d", step-1, list[i-1].frame)
			missed += step - 1
		}
	}
	first, last := list[0].frame, list[len(list)-1].frame
	t.Logf("frames %d to %d in %.1f s: %d missed, %d lost by the device", first, last, span.Seconds(), missed, lost)
	if missed > lost {
		t.Errorf("%d frames missed, the device lost %d", missed, lost)
	}
	if want := int(span.Seconds()-2) * 25; len(list)+lost < want {
		t.Errorf("%d frames in %s, want at least %d", len(list), span, want)
	}
}

// slowViewers has one viewer read nothing and one read 1 kB/s.
func slowViewers(t *testing.T, s *stack.Stack, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	var list []*rtspClient
	for range 2 {
		conn, err := dialFrom("127.0.0.1", u.Host, true)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := newRTSPClient(conn, u)
		if err := c.play(u.User); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	const every = 100 * time.Millisecond
	b := make([]byte, 1000*every/time.Second)
	for range 3 * trouble / every {
		if _, err := list[0].br.Read(b); err != nil {
			t.Fatalf("the viewer at 1 kB/s: %v", err)
		}
		after(t, every)
	}
	for _, v := range status(t, s).Live.Sessions {
		slow := slices.ContainsFunc(list, func(c *rtspClient) bool { return c.LocalAddr().String() == v.Address })
		if slow && v.Frames > 100 {
			t.Errorf("%d frames of %v sent to a viewer that reads nearly nothing", v.Frames, 3*trouble)
		}
	}
}

// cardroom is a mount namespace in which a small memory card is mounted.
type cardroom struct {
	space
	dir  string // where the camera looks for it
	kept string // where it is all the time

	filler *exec.Cmd
}

// newCard makes a card of 32 MB that can be filled, pulled and write-protected
// without being root. It ends with the test.
func newCard(t *testing.T) *cardroom {
	t.Helper()
	at := t.TempDir()
	k := &cardroom{dir: filepath.Join(at, "card"), kept: filepath.Join(at, "kept")}
	for _, d := range []string{k.dir, k.kept} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("sh", "-c", "echo; exec cat")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	k.space = hold(t, c)
	k.do(t, "mount -t tmpfs -o size=32m,mode=700 card "+k.kept)
	k.putBack(t)
	return k
}

// inside is what runs a program where the card is.
func (k *cardroom) inside(program string) string {
	return fmt.Sprintf("exec nsenter --target %d --user --mount --preserve-credentials -- %s", k.pid, program)
}

func (k *cardroom) do(t *testing.T, script string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "sh", "-c", k.inside("sh -c '"+script+"'"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// fill takes all space, and what becomes free while the camera makes room.
func (k *cardroom) fill(t *testing.T) {
	t.Helper()
	script := "while sleep 0.05; do cat /dev/zero >> " + k.kept + "/filler; done"
	k.filler = exec.CommandContext(t.Context(), "sh", "-c", k.inside("sh -c '"+script+"'"))
	if err := k.filler.Start(); err != nil {
		t.Fatal(err)
	}
}

func (k *cardroom) empty(t *testing.T) {
	t.Helper()
	k.filler.Process.Kill()
	k.filler.Wait() //nolint:errcheck // it was killed
	k.do(t, "rm "+k.kept+"/filler")
}

// pull takes the card away under what is open on it.
func (k *cardroom) pull(t *testing.T) { t.Helper(); k.do(t, "umount -l "+k.dir) }

func (k *cardroom) putBack(t *testing.T) { t.Helper(); k.do(t, "mount --bind "+k.kept+" "+k.dir) }

func (k *cardroom) protect(t *testing.T) {
	t.Helper()
	k.do(t, strings.Join([]string{"umount -l " + k.dir, "mount --bind " + k.kept + " " + k.dir, "mount -o remount,bind,ro " + k.dir}, " && "))
}

func (k *cardroom) unprotect(t *testing.T) { t.Helper(); k.do(t, "mount -o remount,bind,rw "+k.dir) }

// newStackWith makes a stack whose camera has this card.
func (k *cardroom) newStackWith(t *testing.T, opt stack.Options) *stack.Stack {
	t.Helper()
	programs := t.TempDir()
	for _, p := range []string{"camcloud", "camctl", "versitygw"} {
		if err := os.Symlink(filepath.Join(bin, p), filepath.Join(programs, p)); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\n" + k.inside(filepath.Join(bin, "camagent")) + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(programs, "camagent"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return newStackOf(t, programs, opt)
}
