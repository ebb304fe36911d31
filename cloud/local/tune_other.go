//go:build !linux

package local

import "net"

// tune: cameras are Linux; elsewhere what a system does by itself is enough.
func tune(*net.UDPConn, bool) error { return nil }
