package config

import (
	"net"
	"net/netip"
	"strings"
	"time"
)

// RTSP configures the live server. Neither address: there is none.
type RTSP struct {
	Address    string `mapstructure:"address" help:"host:port or :port to serve RTSP on, and pictures over HTTP; not at all if empty"`
	TLSAddress string `mapstructure:"tls_address" help:"the same for RTSPS and HTTPS"`

	TCP       bool `mapstructure:"tcp" help:"let viewers choose TCP"`
	UDP       bool `mapstructure:"udp" help:"let viewers choose UDP"`
	Multicast bool `mapstructure:"multicast" help:"let viewers choose multicast: without TLS, everybody on the network can watch then"`

	MulticastGroup     string `mapstructure:"multicast_group" help:"IPv4 group of the first stream, the next has the next one; made of the serial if empty"`
	MulticastPort      int    `mapstructure:"multicast_port" help:"first of the ports that multicast goes to, even"`
	MulticastInterface string `mapstructure:"multicast_interface" help:"network interface that multicast leaves by; as the system routes it if empty"`

	MaxViewers     int           `mapstructure:"max_viewers" help:"viewers at a time, both streams together"`
	MaxConnections int           `mapstructure:"max_connections" help:"open connections, viewers' own included; 0: max_viewers + 32"`
	SendBufferKB   int           `mapstructure:"send_buffer_kb" help:"kernel memory that a viewer's connection may fill, kB"`
	WriteTimeout   time.Duration `mapstructure:"write_timeout" help:"a viewer whose connection takes nothing for so long is dropped"`
	LoginTimeout   time.Duration `mapstructure:"login_timeout" help:"a connection without a right password for so long is closed"`
	MaxLag         time.Duration `mapstructure:"max_lag" help:"a viewer this far behind skips to a newer key frame"`
	WrongAnswers   int           `mapstructure:"wrong_answers" help:"wrong passwords in block_time after which an address is refused"`
	BlockTime      time.Duration `mapstructure:"block_time" help:"how long an address is refused after too many wrong passwords"`
	Snapshot       bool          `mapstructure:"snapshot" help:"serve /snapshot.jpg over HTTP and HTTPS"`
}

// Off tells that no live server is wanted.
func (r *RTSP) Off() bool { return r.Address == "" && r.TLSAddress == "" }

// Group is the configured multicast group, not valid if there is none.
func (r *RTSP) Group() netip.Addr {
	a, err := netip.ParseAddr(r.MulticastGroup)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

func defaultRTSP() RTSP {
	return RTSP{Address: ":8554", TLSAddress: ":8322", TCP: true, UDP: true, MulticastPort: 5004,
		MaxViewers: 100, SendBufferKB: 256, WriteTimeout: 10 * time.Second, LoginTimeout: 15 * time.Second, MaxLag: 5 * time.Second,
		WrongAnswers: 10, BlockTime: time.Minute, Snapshot: true}
}

const maxConnections = 20000

func (r *RTSP) check(k *Checks) {
	if r.Address != "" {
		k.Listen("rtsp.address", r.Address)
	}
	if r.TLSAddress != "" {
		k.Listen("rtsp.tls_address", r.TLSAddress)
		k.Want(!collide(r.Address, r.TLSAddress), "rtsp.tls_address", r.TLSAddress, "another port than that of rtsp.address")
	}
	k.Want(r.TCP || r.UDP || r.Multicast, "rtsp.tcp", r.TCP, "at least one of tcp, udp and multicast true")
	r.checkMulticast(k)
	k.Between("rtsp.max_viewers", r.MaxViewers, 1, 10000)
	if r.MaxConnections != 0 {
		k.Between("rtsp.max_connections", r.MaxConnections, min(r.MaxViewers, maxConnections), maxConnections)
	}
	k.Between("rtsp.send_buffer_kb", r.SendBufferKB, 32, 16384)
	k.Duration("rtsp.write_timeout", r.WriteTimeout, time.Second, time.Minute)
	k.Duration("rtsp.login_timeout", r.LoginTimeout, time.Second, time.Minute)
	k.Duration("rtsp.max_lag", r.MaxLag, 500*time.Millisecond, time.Minute)
	k.Between("rtsp.wrong_answers", r.WrongAnswers, 1, 1000)
	k.Duration("rtsp.block_time", r.BlockTime, time.Second, 24*time.Hour)
}

func (r *RTSP) checkMulticast(k *Checks) {
	a := r.Group()
	k.Want(r.MulticastGroup == "" || a.Is4() && a.IsMulticast() && !a.IsLinkLocalMulticast() && a.Next().IsMulticast(),
		"rtsp.multicast_group", r.MulticastGroup, "an IPv4 multicast address, such as 239.192.10.20")
	k.Between("rtsp.multicast_port", r.MulticastPort, 1024, 65000)
	k.Want(r.MulticastPort%2 == 0, "rtsp.multicast_port", r.MulticastPort, "an even number")
	k.Want(len(r.MulticastInterface) < 16 && !strings.ContainsAny(r.MulticastInterface, "/: \t"),
		"rtsp.multicast_interface", r.MulticastInterface, "the name of a network interface, such as eth0")
}

// collide tells whether two addresses to listen on can't both be had.
func collide(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || hostA == "" || hostB == "")
}
