package local

import (
	"net"

	"golang.org/x/sys/unix"
)

// tune has a socket hear its own link alone, and be heard as RFC 6762, 11, wants.
func tune(c *net.UDPConn, v4 bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	level, options := unix.IPPROTO_IPV6, [][2]int{{unix.IPV6_MULTICAST_ALL, 0}, {unix.IPV6_MULTICAST_HOPS, 255}, {unix.IPV6_UNICAST_HOPS, 255}}
	if v4 {
		level, options = unix.IPPROTO_IP, [][2]int{{unix.IP_MULTICAST_ALL, 0}, {unix.IP_MULTICAST_TTL, 255}, {unix.IP_TTL, 255}}
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for i, o := range options {
			err := unix.SetsockoptInt(int(fd), level, o[0], o[1])
			if err != nil && (i > 0 || v4) { // kernels before 4.20 do not know the first of IPv6
				failed = err
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}
