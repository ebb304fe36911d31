package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"iid2secure.nl/camagent/scripts/vm/plan"
)

// check is one package whose tests run in the machines, with the tag vm.
type check struct {
	pkg      string
	programs []string // packages of programs that lie beside the tests
}

var suite = []check{
	{pkg: "scripts/vm/usbcam"},
	{pkg: "hal/v4l2"},
	{pkg: "hal/alsa"},
	{pkg: "hal/peripheral"},
	{pkg: "scripts/vm/e2e", programs: []string{"cmd/camagent"}},
}

// suiteModules are what the suite needs of the kernel.
const suiteModules = "uvcvideo,vhci-hcd,snd-aloop,uinput,evdev,ledtrig-timer"

// testTimeout bounds one package, so that it says itself where it hangs.
const testTimeout = "3m"

// runSuite runs the whole suite on the architectures that are named.
func runSuite(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("vm test", flag.ExitOnError)
	limit := flags.Duration("timeout", 8*time.Minute, "the time limit of each machine")
	verbose := flags.Bool("v", false, "print what passes, too")
	only := flags.String("only", "", "the packages whose path has this in it")
	_ = flags.Parse(args)
	checks := slices.DeleteFunc(slices.Clone(suite), func(c check) bool { return !strings.Contains(c.pkg, *only) })
	if len(checks) == 0 || flags.NArg() == 0 {
		return 2, errUsage
	}
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	machines := make([]*machine, flags.NArg())
	errs := make([]error, flags.NArg())
	var made sync.WaitGroup
	for i, name := range flags.Args() {
		made.Go(func() { machines[i], errs[i] = suiteMachine(ctx, name, filepath.Join(dir, name), checks) })
	}
	made.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	reports := bootAll(ctx, machines, *limit, *verbose)
	if ctx.Err() != nil {
		return 1, errors.New("interrupted")
	}
	return summary(os.Stdout, reports), nil
}

// bootAll runs the machines side by side.
func bootAll(ctx context.Context, machines []*machine, limit time.Duration, verbose bool) []*report {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var reports []*report
	var booted sync.WaitGroup
	out := &together{w: os.Stdout}
	for _, m := range machines {
		r := &report{arch: m.name, out: out, verbose: verbose}
		reports = append(reports, r)
		booted.Go(func() {
			r.end(m.run(ctx, r, func(res plan.Result) { r.done(m.plan.Steps[res.Step].Name, res) }))
		})
	}
	booted.Wait()
	return reports
}

// together keeps what one goroutine writes at once in one piece.
type together struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *together) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(b)
}

// suiteMachine builds the tests for one architecture while its kernel is fetched.
func suiteMachine(ctx context.Context, name, dir string, checks []check) (*machine, error) {
	m, err := newMachine(name)
	if err != nil {
		return nil, err
	}
	m.exact = true // devices are measured in real time: a busy host is not to be seen in it
	kernel := make(chan error, 1)
	go func() { kernel <- m.fetchKernel(ctx) }()
	err = errors.Join(m.build(ctx, dir, checks), <-kernel)
	if err != nil {
		return nil, err
	}
	if err := m.load(suiteModules); err != nil {
		return nil, err
	}
	for _, c := range checks {
		if err := m.addCheck(c, dir); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// build compiles the tests, and the programs beside them, into dir.
func (m *machine) build(ctx context.Context, dir string, checks []check) error {
	tests, programs := []string{"test", "-c", "-tags", "vm"}, []string{"build"}
	for _, c := range checks {
		tests = append(tests, "./"+c.pkg)
		for _, p := range c.programs {
			programs = append(programs, "./"+p)
		}
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), m.goBuild(ctx, dir+"/", tests...)); err != nil || len(programs) == 1 {
		return err
	}
	return m.goBuild(ctx, dir+"/", programs...)
}

func (m *machine) addCheck(c check, dir string) error {
	program := filepath.Join(dir, path.Base(c.pkg)+".test")
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%s has no tests with the tag vm", c.pkg)
	}
	m.step(c.pkg, program, []string{"-test.v", "-test.timeout=" + testTimeout})
	at := m.plan.Steps[len(m.plan.Steps)-1].Dir
	for _, p := range c.programs {
		m.file(at+"/"+path.Base(p), filepath.Join(dir, path.Base(p)))
	}
	return m.folder(at+"/testdata", filepath.Join(filepath.Dir(m.cache), c.pkg, "testdata"))
}

// summary prints what failed, where a log that is cut still shows it, and the
// counts; it returns the exit code.
func summary(w io.Writer, reports []*report) (code int) {
	for _, r := range reports {
		for _, text := range r.wrong {
			io.WriteString(w, text)
		}
	}
	for _, r := range reports {
		verdict := "ok"
		if r.failed {
			verdict, code = "FAILED", 1
		}
		fmt.Fprintf(w, "%-6s %s: %d tests passed, %d failed, %d skipped, in %.1fs\n", r.arch, verdict, r.all.passed, r.all.failed, r.all.skipped, r.took.Seconds())
	}
	return code
}
