package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakePlayer is testdata/player.sh in a folder of its own; script is what it
// does in the end. (A program that a test has just written can't be run while
// another test forks.)
func fakePlayer(t *testing.T, script string) (path, dir string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "player")
	real, err := filepath.Abs("testdata/player.sh")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(real, path))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "script"), []byte(script+"\n"), 0o600))
	return path, dir
}

const liveURL = "rtsp://me:hunter2@10.0.0.1:8554/main"

func TestS8_PlayKeepsCredentialOffTheCommandLine(t *testing.T) {
	t.Parallel()
	path, dir := fakePlayer(t, "exit 0")
	require.NoError(t, play(t.Context(), path, "door main", liveURL, "hunter2"))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.NotContains(t, string(args), "hunter2")
	require.Contains(t, string(args), "door main")
	input, err := os.ReadFile(filepath.Join(dir, "input"))
	require.NoError(t, err)
	require.Equal(t, "ffconcat version 1.0\nfile '"+liveURL+"'\noption rtsp_transport tcp\n", string(input))
}

func TestS8_PlayersErrorsAreRedacted(t *testing.T) {
	t.Parallel()
	path, _ := fakePlayer(t, "echo first >&2; echo \"Impossible to open '"+liveURL+"' for hunter2\" >&2; exit 1")
	err := play(t.Context(), path, "door main", liveURL, "hunter2")
	require.ErrorContains(t, err, "exit status 1: Impossible to open 'the camera' for [redacted]")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestPlay_MissingEndedOrMalicious(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, play(t.Context(), "no-such-player", "", liveURL, "x"), "needs no-such-player")
	require.ErrorContains(t, play(t.Context(), "false", "", "rtsp://a/'\nfile '/etc/passwd", "x"), "characters that no address has")

	path, dir := fakePlayer(t, "touch ready; exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- play(ctx, path, "", liveURL, "x") }()
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "ready")); return err == nil }, awaitPlayer, pollPlayer)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

const (
	awaitPlayer = 20 * time.Second
	pollPlayer  = 5 * time.Millisecond
)
