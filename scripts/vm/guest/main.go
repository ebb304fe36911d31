// Guest is the first and only program of a test machine (its process 1): it
// mounts the kernel's file systems, brings up the loopback network, loads the
// modules of its plan, runs the programs of its plan, and powers off.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

func main() {
	mount()
	plainConsole()
	p, err := plan.Read()
	if err != nil {
		tell("plan: %v", err)
	}
	start(p)
	for i, s := range p.Steps {
		began := time.Now()
		_, _ = unix.Klogctl(clearLog, nil)
		exit := run(s)
		if exit != 0 {
			kernelLog()
		}
		fmt.Printf("%s\n", p.Say(plan.Result{Step: i, Exit: exit, Duration: time.Since(began)}))
	}
	powerOff()
}

// tell reports what went wrong in the guest itself; the host sees the missing result.
func tell(format string, args ...any) { fmt.Printf("guest: "+format+"\n", args...) }

func mount() {
	for _, m := range [][2]string{
		{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/tmp", "tmpfs"}, {"/run", "tmpfs"}, {"/dev/shm", "tmpfs"},
		{"/sys/kernel/debug", "debugfs"},
	} {
		_ = os.MkdirAll(m[0], 0o755)
		if err := unix.Mount(m[1], m[0], m[1], 0, ""); err != nil {
			tell("mount %s: %v", m[0], err)
		}
	}
	_ = os.Chmod("/tmp", 0o1777)
}

// plainConsole stops the console from writing \r\n for \n.
func plainConsole() {
	t, err := unix.IoctlGetTermios(1, unix.TCGETS)
	if err != nil {
		tell("console: %v", err)
		return
	}
	t.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(1, unix.TCSETS, t); err != nil {
		tell("console: %v", err)
	}
}

func start(p plan.Plan) {
	if time.Now().Before(p.Time) { // a machine without a clock
		tv := unix.NsecToTimeval(p.Time.UnixNano())
		if err := unix.Settimeofday(&tv); err != nil {
			tell("clock: %v", err)
		}
	}
	if err := loopback(); err != nil {
		tell("loopback: %v", err)
	}
	for _, m := range p.Modules {
		if err := load(m); err != nil {
			tell("module %s: %v", filepath.Base(m.Path), err)
		}
	}
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return err
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func load(m plan.Module) error {
	f, err := os.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), m.Parameters, 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// run runs one program. Other children may end meanwhile: orphans, which are
// process 1's to reap; they are few, and the machine ends soon.
func run(s plan.Step) int {
	c := exec.Command(s.Args[0], s.Args[1:]...)
	c.Dir, c.Env = s.Dir, s.Env
	c.Stdout, c.Stderr = os.Stdout, os.Stdout
	err := c.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &ended):
		tell("%v", err)
		return 127
	case ended.ExitCode() < 0:
		return 128 + int(ended.Sys().(interface{ Signal() unix.Signal }).Signal())
	}
	return ended.ExitCode()
}

// Actions of syslog(2).
const (
	readAll  = 3
	clearLog = 5
)

// kernelLog prints what the kernel said last during a step: why a device is not there.
func kernelLog() {
	b := make([]byte, 3<<10)
	n, err := unix.Klogctl(readAll, b)
	if err != nil || n == 0 {
		return
	}
	fmt.Printf("guest: the end of the kernel's log:\n%s\n", b[:n])
}

func powerOff() {
	unix.Sync()
	// The console's last bytes leave before the power does.
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	tell("power off: %v", err)
	select {}
}
