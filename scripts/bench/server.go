package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"iid2secure.nl/camagent/scripts/stack"
)

// server is what is measured under load, or what it is compared with. Each
// start is a new process.
type server interface {
	start(ctx context.Context) (url string, pid int, err error)
	stop() error
}

// camagent is the real one, bound, with the film as its camera.
type camagent struct {
	stack *stack.Stack
	url   string
}

func (c *camagent) start(context.Context) (url string, pid int, err error) {
	if err := c.stack.StartCamera(); err != nil {
		return "", 0, err
	}
	return c.url, c.stack.Camera.PID(), nil
}

func (c *camagent) stop() error { return c.stack.Camera.Stop() }

// filmCamera is the configuration of a camera that plays the film.
func filmCamera(file string) (map[string]any, error) {
	self, err := os.Executable()
	return map[string]any{"board": "pipe", "pipe": map[string]any{"sidecar": []string{self, "camera", file}}}, err
}

// floor is the baseline, a program beside this one.
type floor struct {
	program string
	film    string
	cmd     *exec.Cmd
	in      io.Closer
}

func (f *floor) start(ctx context.Context) (url string, pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	f.cmd = exec.CommandContext(ctx, f.program, self, "camera", f.film)
	f.cmd.Stderr = os.Stderr
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return "", 0, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := f.cmd.Start(); err != nil {
		return "", 0, fmt.Errorf("the Go floor: %w", err)
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", 0, errors.Join(errors.New("the Go floor has ended, see above"), f.stop())
	}
	return "rtsp://" + strings.TrimSpace(address) + "/main", f.cmd.Process.Pid, nil
}

func (f *floor) stop() error {
	f.in.Close()
	return f.cmd.Wait()
}
