package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

// arch is what differs from one architecture to the other.
type arch struct {
	goarch, goarm string
	qemu, cpu     string
}

var archs = map[string]arch{
	"arm64": {goarch: "arm64", qemu: "qemu-system-aarch64", cpu: "cortex-a53"},
	"armhf": {goarch: "arm", goarm: "7", qemu: "qemu-system-arm", cpu: "cortex-a7"},
}

// machine is one virtual machine that is being put together.
type machine struct {
	name string
	arch
	cache string            // the folder with kernels
	root  string            // the kernel's own, with lib/modules
	files map[string]string // in the guest: on the host
	plan  plan.Plan
	disks []string // files of the host: /dev/vda, and so on
	exact bool     // its clock follows the instructions that it has run, not the host's clock
}

func newMachine(name string) (*machine, error) {
	a, ok := archs[name]
	if !ok {
		return nil, fmt.Errorf("architecture %q: want one of %v", name, slices.Sorted(maps.Keys(archs)))
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cache := filepath.Dir(filepath.Dir(program)) // this program lives in .vm/bin
	return &machine{
		name: name, arch: a, cache: cache, root: filepath.Join(cache, name), files: map[string]string{},
		plan: plan.Plan{Mark: "vm-" + rand.Text(), Time: time.Now()},
	}, nil
}

// fetchKernel fetches the kernel, if it is not there yet.
func (m *machine) fetchKernel(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "sh", filepath.Join(filepath.Dir(m.cache), "scripts/vm/kernel.sh"), m.name)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kernel for %s: %w", m.name, err)
	}
	return nil
}

func (m *machine) file(guest, host string) { m.files[guest] = host }

// folder gives the guest the files below a folder of the host, if there is one.
func (m *machine) folder(guest, host string) error {
	err := filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		below, err := filepath.Rel(host, p)
		m.file(path.Join(guest, filepath.ToSlash(below)), p)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// load adds kernel modules, in the form of run.sh, and what they need.
func (m *machine) load(list string) error {
	version, err := filepath.Glob(filepath.Join(m.root, "lib/modules/*"))
	if err != nil || len(version) != 1 {
		return fmt.Errorf("no kernel in %s: scripts/vm/kernel.sh %s fetches it", m.root, m.name)
	}
	for _, want := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		name, parameters, _ := strings.Cut(want, "+")
		out, err := exec.Command(modprobe(), "-d", m.root, "-S", filepath.Base(version[0]), "--show-depends", name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("modprobe %s: %w: %s (Debian package kmod)", name, err, strings.TrimSpace(string(out)))
		}
		m.loadAll(strings.Split(string(out), "\n"), strings.ReplaceAll(parameters, "+", " "))
	}
	return nil
}

// modprobe is where Debian has it, also for users in whose PATH it is not.
func modprobe() string {
	if p, err := exec.LookPath("modprobe"); err == nil {
		return p
	}
	return "/sbin/modprobe"
}

// loadAll reads what modprobe would do; the last one is what was asked for.
func (m *machine) loadAll(depends []string, parameters string) {
	var paths []string
	for _, line := range depends {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "insmod" { // "builtin" is in the kernel
			paths = append(paths, f[1])
		}
	}
	for i, p := range paths {
		guest := "/modules/" + filepath.Base(p)
		if _, twice := m.files[guest]; twice {
			continue
		}
		m.file(guest, p)
		module := plan.Module{Path: guest}
		if i == len(paths)-1 {
			module.Parameters = parameters
		}
		m.plan.Modules = append(m.plan.Modules, module)
	}
}

// buildGuest makes the machine's first program.
func (m *machine) buildGuest(ctx context.Context, out string) error {
	return m.goBuild(ctx, out, "build", "./scripts/vm/guest")
}

// goBuild runs go build, or go test -c, for the machine.
func (m *machine) goBuild(ctx context.Context, out string, args ...string) error {
	args = append([]string{args[0], "-trimpath", "-ldflags", "-s -w", "-o", out}, args[1:]...)
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = filepath.Dir(m.cache)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOARCH="+m.goarch, "GOARM="+m.goarm)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// diskArgs attaches the disks. A machine that is killed leaves on them what it has
// written, as one does whose power is cut; the host itself is not to fail meanwhile.
func (m *machine) diskArgs() (args []string) {
	for i, file := range m.disks {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=disk%d,format=raw,cache=unsafe,file=%s", i, strings.ReplaceAll(file, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-device,drive=disk%d", i))
	}
	return args
}

// clockArgs: an exact machine has one processor of 250 million instructions a
// second; when it has nothing to do, the time until it has is skipped.
func (m *machine) clockArgs() []string {
	if m.exact {
		return []string{"-accel", "tcg,thread=single", "-icount", "shift=2,sleep=off"}
	}
	return []string{"-accel", "tcg,thread=multi", "-smp", "2"}
}

// run boots the machine and waits for its end. It returns an error if the
// machine did not come through its plan, whatever the results were.
func (m *machine) run(ctx context.Context, console io.Writer, done func(plan.Result)) error {
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	guest, image := filepath.Join(dir, "guest"), filepath.Join(dir, "image")
	if err := m.buildGuest(ctx, guest); err != nil {
		return err
	}
	m.file("/init", guest)
	if err := m.writeImage(image); err != nil {
		return err
	}
	out, in := io.Pipe()
	q := exec.CommandContext(ctx, m.qemu, "-M", "virt", "-cpu", m.cpu, "-m", "256",
		"-nodefaults", "-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", filepath.Join(m.root, "kernel"), "-initrd", image,
		"-append", "console=ttyAMA0 loglevel=0 panic=-1 mitigations=off random.trust_bootloader=on rootfstype=ramfs iomem=relaxed")
	q.Args = append(q.Args, m.clockArgs()...)
	q.Args = append(q.Args, m.diskArgs()...)
	q.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	q.Stdout, q.Stderr = in, os.Stderr
	if err := q.Start(); err != nil {
		return fmt.Errorf("%w (Debian package qemu-system-arm)", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := q.Wait()
		in.Close()
		ended <- err
	}()
	results := relay(m.plan, out, console, done)
	err = <-ended
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s machine ended: %w", m.name, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("%s: %w", m.qemu, err)
	case results != len(m.plan.Steps):
		return fmt.Errorf("%s machine: %d of %d programs ended: did the kernel panic?", m.name, results, len(m.plan.Steps))
	}
	return nil
}
