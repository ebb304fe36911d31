package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal/pipe"
	"iid2secure.nl/camagent/hal/sim"
)

// camagent runs the program with arguments.
func camagent(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestM13_ControlSocket(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30)) // longer than a socket's address
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), filepath.Join(dir, "sim.sock")} {
		flags := []string{"sim", "--sim.control", path}
		b := sim.New(sim.Config{})
		defer b.Close()
		stop, err := serveControl(t.Context(), path, b)
		require.NoError(t, err)
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm())

		_, err = camagent(t, append(flags, "clock", "-3s")...)
		require.NoError(t, err, "a time before is no flag")
		_, err = camagent(t, append(flags, "light", "0")...)
		require.NoError(t, err)
		out, err := camagent(t, append(flags, "state")...)
		require.NoError(t, err)
		require.Contains(t, out, `"light":0`)
		_, err = camagent(t, append(flags, "jump")...)
		require.ErrorContains(t, err, "jump")

		_, err = serveControl(t.Context(), path, b)
		require.ErrorContains(t, err, "another camagent serves")
		require.NoError(t, stop())
		require.NoFileExists(t, path)
		_, err = camagent(t, append(flags, "state")...)
		require.ErrorContains(t, err, "is camagent running")
	}
}

func TestControlSocketThatWasLeftIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sim.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	b := sim.New(sim.Config{})
	defer b.Close()
	stop, err := serveControl(context.WithoutCancel(t.Context()), path, b)
	require.NoError(t, err)
	require.NoError(t, stop())

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = serveControl(t.Context(), path, b)
	require.ErrorContains(t, err, "is no socket: remove it")
	require.FileExists(t, path)
}

func TestOtherBoardsHaveNoControlSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sim.sock")
	stop, err := serveControl(t.Context(), path, &pipe.Board{})
	require.NoError(t, err)
	require.NoFileExists(t, path)
	require.NoError(t, stop())
}

func TestSimSaysWhyItCannot(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"want an action": {"sim"},
		"board onboard":  {"sim", "--board", "onboard", "--config", writeConfig(t, "onboard: {sources: [{stream: main, url: 'rtsp://127.0.0.1/'}]}"), "unplug"},
		"no control":     {"sim", "--sim.control", "-", "unplug"},
		"is camagent":    {"sim", "--state_dir", t.TempDir(), "unplug"},
	} {
		_, err := camagent(t, args...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
	out, err := camagent(t, "sim", "help")
	require.NoError(t, err)
	require.Contains(t, out, "pullcard")
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "camagent.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}
