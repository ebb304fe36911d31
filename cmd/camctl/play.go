package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	player     = "ffplay"
	playerEnds = 3 * time.Second // after Ctrl-C
)

// play shows a stream. The address, which holds the credential, reaches the
// player on its standard input, as a list of one entry: everybody on this
// machine can read command lines. S8.
func play(ctx context.Context, program, title, url, password string) error {
	if strings.ContainsAny(url, "'\\\n\r") {
		return errors.New("live: the camera's address holds characters that no address has")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("live: --play needs %s (Debian package ffmpeg)", program)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "-loglevel", "error", "-window_title", title, "-fflags", "nobuffer",
		"-protocol_whitelist", "pipe,fd,rtsp,rtsps,rtp,tcp,udp,tls,crypto", "-f", "concat", "-safe", "0", "-i", "pipe:0")
	cmd.Stdin = strings.NewReader("ffconcat version 1.0\nfile '" + url + "'\noption rtsp_transport tcp\n")
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = playerEnds
	err = cmd.Run()
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("live: %s: %w: %s", program, err, lastLine(said.String(), url, password))
}

// lastLine is what a player said last, without the credential.
func lastLine(said, url, password string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	line := strings.ReplaceAll(lines[len(lines)-1], url, "the camera")
	if password != "" {
		line = strings.ReplaceAll(line, password, "[redacted]")
	}
	return fmt.Sprintf("%.300s", line)
}
