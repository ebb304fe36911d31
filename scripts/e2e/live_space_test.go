package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"iid2secure.nl/camagent/scripts/stack"
)

// Addresses of the two ends of the cable.
const (
	cameraIP = "10.77.0.1"
	viewerIP = "10.77.0.2"
)

// space is a network namespace, held open by a process that does nothing. What
// runs in it sees no interface of this machine.
type space struct{ pid int }

// newCable makes two namespaces with a cable between them, in a user namespace
// of their own, so that nobody needs to be root for it. They end with the test.
func newCable(t *testing.T) (camera, viewer space) {
	t.Helper()
	first := exec.Command("sh", "-c", "echo; exec cat")
	first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	camera = hold(t, first)
	viewer = hold(t, exec.Command("nsenter", camera.entry("unshare", "--net", "sh", "-c", "echo; exec cat")...))
	camera.must(t, "ip", "link", "set", "lo", "up")
	camera.must(t, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", strconv.Itoa(viewer.pid))
	viewer.must(t, "ip", "link", "set", "lo", "up")
	for s, ip := range map[space]string{camera: cameraIP, viewer: viewerIP} {
		s.must(t, "ip", "address", "add", ip+"/24", "dev", "cable")
		s.must(t, "ip", "link", "set", "cable", "up")
		s.must(t, "ip", "route", "add", "224.0.0.0/4", "dev", "cable")
	}
	return camera, viewer
}

// hold starts the process that a namespace lives by, which says a line when it
// is there, and ends with its standard input.
func hold(t *testing.T, c *exec.Cmd) space {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatalf("a network namespace: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		c.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("a network namespace: %v", err)
	}
	return space{c.Process.Pid}
}

// entry is what nsenter needs to run a program in the namespace.
func (s space) entry(args ...string) []string {
	return append([]string{"--target", strconv.Itoa(s.pid), "--user", "--net", "--preserve-credentials", "--"}, args...)
}

// command is a program in the namespace. The end of ctx is Ctrl-C to it.
func (s space) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "nsenter", s.entry(append([]string{name}, args...)...)...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
	return c
}

func (s space) must(t *testing.T, name string, args ...string) {
	t.Helper()
	c := s.command(t.Context(), name, args...)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// programs makes a folder of the built programs, which run in the namespace;
// camcloud starts the storage, there already.
func (s space) programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range []string{"camagent", "camcloud", "camctl"} {
		script := fmt.Sprintf("#!/bin/sh\nexec nsenter %s \"$@\"\n", strings.Join(s.entry(filepath.Join(bin, p)), " "))
		if err := os.WriteFile(filepath.Join(dir, p), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(bin, "versitygw"), filepath.Join(dir, "versitygw")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newStackIn makes a stack whose programs all run in the namespace, and ends it
// with the test.
func (s space) newStackIn(t *testing.T, opt stack.Options) *stack.Stack {
	t.Helper()
	opt.Bin, opt.Dir = s.programs(t), t.TempDir()
	st, err := stack.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			showLogs(t, opt.Dir)
		}
	})
	return st
}

// needTools fails the test if a program is missing, with its Debian package.
func needTools(t *testing.T, packages map[string]string) {
	t.Helper()
	for program, pkg := range packages {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing, of the Debian package %s: make tools installs it", program, pkg)
		}
	}
}

// lines hands each line of r to on.
func lines(r io.Reader, on func(string)) {
	for s := bufio.NewScanner(r); s.Scan(); {
		on(s.Text())
	}
}
