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
	_ = raw.Control(func(fd uintptr) { // an advice
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}

// exit is how multicast leaves: by which interface, and from which address. The
// zero value has the system choose.
type exit struct {
	index   int
	address net.IP // nil: unknown
}

// exitBy finds an interface by its name; empty: none in particular.
func exitBy(name string) (e exit, err error) {
	if name == "" {
		return e, nil
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return e, fmt.Errorf("network interface %s: %w", name, err)
	}
	list, err := i.Addrs()
	if err != nil {
		return e, fmt.Errorf("addresses of network interface %s: %w", name, err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return exit{i.Index, n.IP.To4()}, nil
		}
	}
	return e, fmt.Errorf("network interface %s has no IPv4 address", name)
}

// openGroup opens sockets that send to a multicast group, one for each port and
// from that port: some clients take packets from no other. Nothing is received
// on them. It tells the address that packets come from, nil if it is not known.
func openGroup(addr netip.Addr, ports [][2]int, interfaceName string) (socks []*net.UDPConn, source net.IP, err error) {
	e, err := exitBy(interfaceName)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			closeAll(socks)
		}
	}()
	l := net.ListenConfig{Control: e.control}
	for _, pair := range ports {
		for _, port := range pair {
			c, err := l.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(addr, uint16(port)).String())
			if err != nil {
				return socks, nil, err
			}
			u := c.(*net.UDPConn)
			_ = u.SetWriteBuffer(udpSendBuffer) // an advice, as for the other sockets
			socks = append(socks, u)
		}
	}
	source, err = e.source(netip.AddrPortFrom(addr, uint16(ports[0][0])))
	return socks, source, err
}

func closeAll(socks []*net.UDPConn) {
	for _, c := range socks {
		c.Close()
	}
}

// source has the system choose the address, or say that there is no way out.
func (e exit) source(to netip.AddrPort) (net.IP, error) {
	if e.address != nil {
		return e.address, nil
	}
	d := net.Dialer{Control: e.control}
	c, err := d.Dial("udp4", to.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ip := c.LocalAddr().(*net.UDPAddr).IP
	if ip.IsUnspecified() {
		return nil, nil
	}
	return ip, nil
}

// control prepares a socket: packets to a group leave as e says, for one hop, and
// reach programs on this machine too.
func (e exit) control(_, _ string, raw syscall.RawConn) (err error) {
	options := []struct{ option, value int }{
		{unix.IP_MULTICAST_TTL, multicastTTL}, {unix.IP_MULTICAST_LOOP, 1}, {unix.IP_MULTICAST_ALL, 0},
	}
	wrong := raw.Control(func(fd uintptr) {
		for _, o := range options {
			if err == nil {
				err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, o.option, o.value))
			}
		}
		if err == nil && e.index != 0 {
			m := unix.IPMreqn{Ifindex: int32(e.index), Address: [4]byte(e.address)}
			err = os.NewSyscallError("setsockopt", unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &m))
		}
	})
	return cmp.Or(wrong, err)
}
