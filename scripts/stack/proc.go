package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Proc is one program that runs beside others, its output in a log file.
type Proc struct {
	Name string
	Log  string // path
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	told bool // to end
}

// stopWait is how long a program has between SIGTERM and SIGKILL.
const stopWait = 15 * time.Second

// startProc runs name with args; its output is appended to <dir>/<log>.log. The
// child gets a process group of its own, so that Ctrl-C reaches us alone and
// everything ends in order.
func startProc(dir, log, name string, env []string, args ...string) (*Proc, error) {
	p := &Proc{Name: log, Log: filepath.Join(dir, log+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(name, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Stop ends the program politely and waits for it; a program that has to be
// killed, or that fails on the way out, is an error.
func (p *Proc) Stop() error {
	select {
	case <-p.done:
		return p.ended()
	default:
	}
	p.told = true
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.ended()
	case <-time.After(stopWait):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM: see %s", p.Name, stopWait, p.Log)
	}
}

// ended says how the program ended. One that was told to before it could listen
// for the signal has ended as it was told.
func (p *Proc) ended() error {
	if st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && p.told && st.Signal() == syscall.SIGTERM {
		return nil
	}
	if p.err != nil {
		return fmt.Errorf("%s ended: %w: see %s", p.Name, p.err, p.Log)
	}
	return nil
}

// Kill ends the program at once (SIGKILL) and waits for it.
func (p *Proc) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// errEnded is a program that ended before it was ready.
var errEnded = errors.New("ended before it was ready")

// pollEvery is how often a condition outside this process is looked at.
const pollEvery = 50 * time.Millisecond

// until asks check every pollEvery; it gives up when ctx ends or p does.
func until(ctx context.Context, p *Proc, check func() bool) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for !check() {
		select {
		case <-t.C:
		case <-p.done:
			return fmt.Errorf("%s %w: %s: see %s", p.Name, errEnded, p.lastWords(), p.Log)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: see %s", p.Name, ctx.Err(), p.Log)
		}
	}
	return nil
}

// lastWords is the last line of the log: what a program that failed has said.
func (p *Proc) lastWords() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
