package rtsp

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long sent data may stay unacknowledged (RFC 5482),
// for viewers that vanish while the stream stands still.
func setUserTimeout(c *net.TCPConn, d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an advice: the write deadline remains
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}

// openGroup opens sockets that send to a multicast group, one for each port and
// from that port, and tells the address that packets come from. They leave by one
// interface, reach no other network, and nothing is received on them.
func openGroup(addr netip.Addr, ports [][2]int, interfaceName string) (socks []*net.UDPConn, source net.IP, err error) {
	index := 0
	if interfaceName != "" {
		i, err := net.InterfaceByName(interfaceName)
		if err != nil {
			return nil, nil, fmt.Errorf("network interface %s: %w", interfaceName, err)
		}
		index = i.Index
	}
	defer func() {
		if err != nil {
			for _, c := range socks {
				c.Close()
			}
		}
	}()
	control := func(_, _ string, raw syscall.RawConn) error { return setMulticast(raw, index) }
	for _, pair := range ports {
		for _, port := range pair {
			l := net.ListenConfig{Control: control}
			c, err := l.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, uint16(port)).String())
			if err != nil {
				return socks, nil, err
			}
			u := c.(*net.UDPConn)
			_ = u.SetWriteBuffer(udpSendBuffer) // an advice, as for the other sockets
			socks = append(socks, u)
		}
	}
	d := net.Dialer{Control: control}
	c, err := d.Dial("udp4", netip.AddrPortFrom(addr, uint16(ports[0][0])).String())
	if err != nil {
		return socks, nil, err
	}
	defer c.Close()
	return socks, c.LocalAddr().(*net.UDPAddr).IP, nil
}

// setMulticast has packets to a group leave by an interface (0: as the system
// routes them), for one hop, and reach programs on this machine too.
func setMulticast(raw syscall.RawConn, index int) (err error) {
	options := []struct{ option, value int }{
		{unix.IP_MULTICAST_TTL, multicastTTL}, {unix.IP_MULTICAST_LOOP, 1}, {unix.IP_MULTICAST_ALL, 0},
	}
	wrong := raw.Control(func(fd uintptr) {
		for _, o := range options {
			if err == nil {
				err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, o.option, o.value))
			}
		}
		if err == nil && index != 0 {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}))
		}
	})
	return cmp.Or(wrong, err)
}
