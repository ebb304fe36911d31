// Vm runs programs in throw-away virtual machines: QEMU without KVM, a stock
// Debian kernel with chosen modules, 2 CPUs, 256 MiB, no disk and no network
// but the guest's own loopback. See README.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

func main() {
	// QEMU is to die with this program, and Linux means with this thread.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer stop()
	code, err := command(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		if code == 0 {
			code = 125
		}
	}
	stop()
	os.Exit(code)
}

var errUsage = errors.New("usage: vm run [-timeout D] [-file GUEST=HOST] [-disk IMAGE] ARCH MODULES PROGRAM [ARGUMENT...], or vm test [-v] [-timeout D] ARCH...")

func command(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errUsage
	}
	switch args[0] {
	case "run":
		return runOne(ctx, args[1:])
	case "test":
		return runSuite(ctx, args[1:])
	}
	return 2, errUsage
}

// runOne runs one program; its output and exit code are its own.
func runOne(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("vm run", flag.ExitOnError)
	limit := flags.Duration("timeout", 3*time.Minute, "the machine's time limit")
	files := map[string]string{}
	flags.Func("file", "a file for the guest, as GUEST=HOST", func(s string) error {
		guest, host, ok := strings.Cut(s, "=")
		files[guest] = host
		if !ok {
			return errors.New("want GUEST=HOST")
		}
		return nil
	})
	var disks []string
	flags.Func("disk", "an image that is a disk of the guest (/dev/vda, with the module virtio_blk); may be given again", func(s string) error {
		disks = append(disks, s)
		return nil
	})
	_ = flags.Parse(args)
	if flags.NArg() < 3 {
		return 2, errUsage
	}
	m, err := newMachine(flags.Arg(0))
	if err != nil {
		return 0, err
	}
	if err := m.load(flags.Arg(1)); err != nil {
		return 0, err
	}
	m.disks = disks
	for guest, host := range files {
		m.file(guest, host)
	}
	program := flags.Arg(2)
	m.step(filepath.Base(program), program, flags.Args()[3:])
	if err := m.folder(m.plan.Steps[0].Dir+"/testdata", "testdata"); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	exit := 125
	err = m.run(ctx, os.Stdout, func(r plan.Result) { exit = r.Exit })
	return exit, err
}

// step adds a program to what the machine does, in a folder of its own.
func (m *machine) step(name, program string, args []string) {
	dir := fmt.Sprintf("/step/%d", len(m.plan.Steps))
	m.file(dir+"/program", program)
	m.plan.Steps = append(m.plan.Steps, plan.Step{
		Name: name, Dir: dir, Args: append([]string{dir + "/program"}, args...),
		Env: []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "USER=root"},
	})
}

// relay copies the console to w without the guest's own lines, and returns how
// many results it told.
func relay(p plan.Plan, console io.Reader, w io.Writer, done func(plan.Result)) (results int) {
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		text, r, result := p.Hear(line)
		_, _ = io.WriteString(w, text)
		if result {
			results++
			done(r)
		}
		if err != nil {
			return results
		}
	}
}
