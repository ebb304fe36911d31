//go:build !linux

package rtsp

import (
	"net"
	"time"
)

// setUserTimeout exists on Linux only; elsewhere the write deadline must do.
func setUserTimeout(*net.TCPConn, time.Duration) {}
