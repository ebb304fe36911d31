package pipe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

// stopWait is how long a program is waited for after it closed its output, and
// again after SIGTERM, and after SIGKILL.
const stopWait = 2 * time.Second

// child is a running program in a process group of its own. Nothing waits for
// it until end is called: its closed output tells when.
type child struct {
	cmd  *exec.Cmd
	said *lastWords
	once sync.Once
	err  error
}

// startChild starts argv with in, if not nil, as its standard input and out as
// its standard output; both are closed in this process either way. The child
// dies of SIGPIPE should this process end without having closed it.
func startChild(argv []string, in, out *os.File, log *zap.Logger) (*child, error) {
	defer out.Close()
	c := &child{cmd: exec.Command(argv[0], argv[1:]...), said: &lastWords{log: log}}
	c.cmd.Stdout, c.cmd.Stderr = out, c.said
	c.cmd.Env = childEnv(os.Environ())
	if in != nil {
		defer in.Close()
		c.cmd.Stdin = in
		c.cmd.Env = append(c.cmd.Env, "SIDECAR_PROTOCOL="+strconv.Itoa(protocol))
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = time.Second // a helper that left the group may hold stderr
	switch err := c.cmd.Start(); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: program %q", hal.ErrNotFound, argv[0])
	case err != nil:
		return nil, err
	}
	return c, nil
}

// gone makes the error for a program that ended.
func (c *child) gone(name string, how error) error {
	text := "with exit status 0"
	if how != nil {
		text = "with " + how.Error()
	}
	return fmt.Errorf("%w: %s ended %s%s", hal.ErrGone, name, text, c.lastSaid())
}

// lastSaid is the end of an error's text: what the program wrote last.
func (c *child) lastSaid() string {
	if said := c.said.String(); said != "" {
		return fmt.Sprintf(", its last words: %q", said)
	}
	return ""
}

// childEnv leaves out what is this process's own: its settings, which may hold
// secrets (S8), and the watchdog's socket.
func childEnv(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, kv := range env {
		if !strings.HasPrefix(kv, "CAMAGENT_") && !strings.HasPrefix(kv, "NOTIFY_SOCKET=") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// end waits for the program for a while (grace), then ends it and what is left
// of its process group. It returns how the program ended: nil for exit status
// 0. Any goroutine may call it, all get the same answer.
func (c *child) end(grace time.Duration) error {
	c.once.Do(func() { c.err = c.stop(grace) })
	return c.err
}

func (c *child) stop(grace time.Duration) error {
	pid := c.cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(pid)
	}()
	gone := within(exited, grace)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !gone {
			_ = syscall.Kill(-pid, sig)
			gone = within(exited, stopWait)
		}
	}
	if !gone {
		return fmt.Errorf("process %d does not end, not even by SIGKILL", pid)
	}
	// The leader is not reaped yet, so the group's number is still ours.
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	err := c.cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// awaitExit blocks until the process has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
