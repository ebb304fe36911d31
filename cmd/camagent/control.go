package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal/sim"
)

func simCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sim [flags] ACTION [VALUE] [KEY=VALUE…]",
		Short: "Make something happen to the simulated camera that runs",
		Long:  "Make something happen to the simulated camera that runs. Flags stand before the action.\n\n" + strings.TrimRight(sim.Help(), "\n"),
		RunE:  simulate,
	}
	configFlags(cmd)
	cmd.Flags().SetInterspersed(false) // "clock -10s" is no flag
	return cmd
}

func simulate(cmd *cobra.Command, args []string) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	path := cfg.SimControl()
	switch {
	case len(args) == 0:
		return usageError{errors.New("sim: want an action: camagent sim help lists them")}
	case cfg.Board != config.BoardSim:
		return fmt.Errorf("sim: the configuration names board %s, want sim", cfg.Board)
	case path == "" && args[0] != "help":
		return fmt.Errorf("sim: sim.control is %q in the configuration: no control socket", config.None)
	}
	short, release, err := shortPath(path)
	if err != nil {
		return fmt.Errorf("sim: no camera runs with this configuration: %w", err)
	}
	defer release()
	answer, err := sim.Ask(cmd.Context(), short, args)
	if err != nil {
		return fmt.Errorf("sim: %w", err)
	}
	if answer = strings.TrimSpace(answer); answer != "" {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
	}
	return err
}

// listenControl makes the control socket, for its owner alone. One that an
// earlier camagent left is replaced. Closing the listener removes it.
func listenControl(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("sim.control: %w", err)
	}
	short, release, err := shortPath(path)
	if err != nil {
		return nil, fmt.Errorf("sim.control: %w", err)
	}
	l, err := net.Listen("unix", short)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("sim.control: %w", err)
	}
	return &socket{Listener: l, release: release}, nil
}

// socket is a listener that holds the folder it lies in.
type socket struct {
	net.Listener
	once    sync.Once
	release func()
}

func (s *socket) Close() error {
	err := s.Listener.Close()
	s.once.Do(s.release)
	return err
}

// removeStale removes a socket that nobody serves.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: remove it, or choose another path", path)
	}
	short, release, err := shortPath(path)
	if err != nil {
		return err
	}
	defer release()
	if c, err := net.DialTimeout("unix", short, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("another camagent serves %s", path)
	}
	return os.Remove(path)
}

// maxSocketPath is what fits into a socket's address (unix(7)).
const maxSocketPath = 107

// shortPath names a socket's path so that it fits; release is to be called when
// the name is no more needed.
func shortPath(path string) (short string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)), func() { unix.Close(dir) }, nil
}

// serveControl serves the simulator's control socket, if board is one and there
// is a path, until the returned function is called.
func serveControl(ctx context.Context, path string, board any) (stop func() error, err error) {
	b, ok := board.(*sim.Board)
	if !ok || path == "" {
		return func() error { return nil }, nil
	}
	l, err := listenControl(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.ServeControl(ctx, l) }()
	return func() error { cancel(); return <-done }, nil
}
