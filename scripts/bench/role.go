package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// role is what this program is when it starts itself again: a camera, or viewers
// in a process of their own.
func role(ctx context.Context, args []string) (bool, error) {
	if len(args) == 2 && args[0] == "camera" {
		return true, runCamera(args[1])
	}
	if len(args) != 4 {
		return false, nil
	}
	var n int
	if _, err := fmt.Sscan(args[1], &n); err != nil || n < 1 {
		return false, nil
	}
	switch args[0] {
	case "crowd":
		return true, runCrowd(ctx, n, args[2], args[3], os.Stdin, os.Stdout)
	case "late":
		return true, runLate(ctx, n, args[2], args[3], os.Stdout)
	case "churn":
		return true, runChurn(ctx, n, args[2], args[3], os.Stdout)
	}
	return false, nil
}

// child is this program in another role.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startRole(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, args...)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// tell writes a line.
func (c *child) tell(line string) error {
	_, err := fmt.Fprintln(c.in, line)
	return err
}

// expect reads a line that must be this one.
func (c *child) expect(want string) error {
	line, err := c.out.ReadString('\n')
	if err == nil && line != want+"\n" {
		err = fmt.Errorf("it says %q", line)
	}
	return c.fail(err)
}

// answer reads a line of JSON.
func (c *child) answer(v any) error {
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	return c.fail(err)
}

func (c *child) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it has ended, see above")
	}
	if err != nil {
		return fmt.Errorf("bench %s: %w", c.cmd.Args[1], err)
	}
	return nil
}

// end closes its input, which is the end of a role, and waits.
func (c *child) end() error {
	c.in.Close()
	return c.fail(c.cmd.Wait())
}

// runRole starts a role that answers once and ends.
func runRole(ctx context.Context, v any, args ...string) error {
	c, err := startRole(ctx, args...)
	if err != nil {
		return err
	}
	return errors.Join(c.answer(v), c.end())
}
