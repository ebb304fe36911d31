package local

import (
	"net"
	"net/netip"
)

// link is a network interface with its addresses.
type link struct {
	net.Interface
	nets []netip.Prefix
}

// links are the interfaces by which others on a local network are reached.
func links() []link {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []link
	for _, i := range all {
		const need, not = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		if i.Flags&need != need || i.Flags&not != 0 {
			continue
		}
		if l := (link{i, prefixes(i)}); len(l.nets) > 0 {
			out = append(out, l)
		}
	}
	return out
}

func prefixes(i net.Interface) (out []netip.Prefix) {
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if ip = ip.Unmap(); ok {
			out = append(out, netip.PrefixFrom(ip, bits))
		}
	}
	return out
}

// near tells whether an address is on this link.
func (l link) near(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, n := range l.nets {
		if n.Masked().Contains(a) {
			return true
		}
	}
	return false
}

// zoned is an address as this machine connects to it.
func (l link) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(l.Name)
	}
	return a
}
