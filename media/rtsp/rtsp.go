// Package rtsp serves media streams to viewers on the local network: RTSP 1.0
// (RFC 2326), plain and over TLS, with Digest access; video and sound over TCP
// (interleaved), UDP or multicast, and encrypted (SRTP, RFC 3711) over each of
// them for those that come by TLS. It is the one home of gortsplib, which does the
// signalling: requests and sessions. Which transport a session has is decided in
// transport.go; gortsplib sees plain ones over TCP or UDP alone. Media is written
// by this package itself, each frame whole, so that a slow viewer loses whole GOPs
// and harms nobody else: viewers over plain TCP that are in step are served by one
// goroutine a stream, all others by one of their own, and those of a multicast
// group by that of the group.
//
// The package never opens a board, never decodes, never keeps a frame longer
// than it takes to send it, and knows nothing of members or epochs: who may
// look is asked of [Credentials] at every request. Nothing of gortsplib or of
// RTP leaves it. What viewers say is handed to package talk as it came.
//
// Who owns what: a [Server] owns both listeners, the UDP sockets, all
// connections, viewers and multicast groups; the rings belong to the caller.
// gortsplib's own queues and sender reports are not used: it writes RTSP responses
// and nothing else, and conn.go keeps those and media apart on a shared connection.
// What clients send goes by framer.go first, which bounds it.
package rtsp

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/media/talk"
)

// Config says where and how to serve. The zero value of a number, a duration or
// the log is its default.
type Config struct {
	// Address to listen on, host:port, for RTSP and for pictures over HTTP; port 0
	// takes a free one (see Server.Addr); empty: not at all.
	Address string
	// TLSAddress is the same for RTSPS and HTTPS (see Server.TLSAddr).
	TLSAddress string
	// Certificate gives what TLSAddress shows to a client; it may be called at any
	// time from any goroutine.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	// TCP, UDP and Multicast let viewers choose the transport, or they get 461.
	// Over TLS, UDP and multicast are always SRTP.
	TCP, UDP, Multicast bool
	// UDPPort is the even port that RTP leaves from, RTCP uses the next one, and
	// SRTP and SRTCP the two behind them; 0 takes free pairs.
	UDPPort int
	// MulticastGroup is the IPv4 group of the first stream; each further one has
	// the next address, its tracks have pairs of ports from MulticastPort (5004) on,
	// over SRTP from MulticastPort+4 on.
	MulticastGroup netip.Addr
	MulticastPort  int
	// MulticastInterface sends multicast, by name; empty: as the system routes it.
	MulticastInterface string

	// MaxViewers play at once (32); one more is refused with 503.
	MaxViewers int
	// MaxConns are open at once (MaxViewers + 32), viewers' own included; for
	// one more, the oldest that has shown no right password is closed, or if there
	// is none, that one.
	MaxConns int
	// WrongAnswers in BlockTime (10 in 1 minute) have an address refused for BlockTime.
	WrongAnswers int
	BlockTime    time.Duration
	// LoginTimeout is how long a connection that does not play may stay without
	// a request that carries the right password (15 s).
	LoginTimeout time.Duration
	// WriteTimeout drops a viewer whose connection takes no byte for so long (10 s).
	//
	// A viewer that vanishes without a word frees all it had within 45 s over TCP,
	// TLS or SRTP: by WriteTimeout once SendBuffer is full, when data is
	// unacknowledged for 30 s, or when probes of an idle connection are; over UDP and
	// plain multicast within 62 s, a minute after its last request or report. A
	// connection that never plays ends by LoginTimeout.
	WriteTimeout time.Duration
	// SendBuffer is the kernel memory in bytes that one viewer's connection may fill (256 KiB).
	SendBuffer int
	// MaxLag is how old a frame may be when it is sent while a newer key frame
	// waits in the ring (5 s): beyond it, the viewer skips to that key frame.
	MaxLag time.Duration

	// Snapshot makes the JPEG of /snapshot.jpg; nil: there is none. It is called
	// for all who ask at a time, and ends with its context.
	Snapshot func(context.Context) ([]byte, error)

	// Talk plays what viewers say (ONVIF Streaming Specification, back channel);
	// nil: there is no speaker.
	Talk *talk.Desk
	// MayTalk tells whether a user may speak; nil: nobody may. It is asked at
	// requests and, while somebody talks, once a second, from many goroutines, and
	// must not block.
	MayTalk func(user string) bool
	// Log gets a line for each viewer that comes, goes, lags or is refused; nil: none.
	Log *zap.Logger
}

// What holds for every server.
const (
	realm           = "camera"
	parameterWait   = 3 * time.Second        // a DESCRIBE waits so long for the first key frame
	sessionTimeout  = 60 * time.Second       // without request or report, unless media go over the connection
	groupTracks     = 2                      // of a stream over multicast
	multicastTTL    = 1                      // it never leaves the network
	keyAge          = time.Second            // an older newest key frame is not good enough for a new viewer
	reportEvery     = time.Second            // RTCP sender reports: players line up what they replay by the second one
	maxRequest      = 16 << 10               // bytes of a request with its body, or of a frame from a client
	partingTime     = 20 * time.Millisecond  // that the end of a TLS connection may take to be said
	wrongAnswers    = 3                      // so many end the connection
	udpSendBuffer   = 256 << 10              // kernel memory of the socket that all viewers over UDP share
	userTimeout     = 30 * time.Second       // unacknowledged data ends a TCP connection
	keepIdle        = 15 * time.Second       // an idle one is probed then
	keepProbe       = 10 * time.Second       // and again
	keepProbes      = 3                      // so often, or until userTimeout
	maxPayload      = 1400                   // bytes of an RTP packet behind its header: fits every MTU in use
	chunk           = 64 << 10               // a write is at most this long
	udpRate         = 6 << 20                // bytes per second that a burst over UDP is spread to
	udpBurst        = 64 << 10               // bytes that go out at once
	acceptRetryWait = 100 * time.Millisecond // when the process is out of file descriptors
)

func (c *Config) setDefaults() {
	orInt := func(p *int, def int) {
		if *p <= 0 {
			*p = def
		}
	}
	orTime := func(p *time.Duration, def time.Duration) {
		if *p <= 0 {
			*p = def
		}
	}
	orInt(&c.MaxViewers, 32)
	orInt(&c.MaxConns, c.MaxViewers+32)
	orInt(&c.WrongAnswers, 10)
	orInt(&c.SendBuffer, 256<<10)
	orInt(&c.MulticastPort, 5004)
	orTime(&c.BlockTime, time.Minute)
	orTime(&c.LoginTimeout, 15*time.Second)
	orTime(&c.WriteTimeout, 10*time.Second)
	orTime(&c.MaxLag, 5*time.Second)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// Credentials tells the RTSP password of a user, ok false if there is none such
// now. It is called at each request, from many goroutines, and must not block.
type Credentials func(user string) (password string, ok bool)

// Stats is a view for status and metrics. Counters rise while the server lives.
type Stats struct {
	Viewers    int    // sessions that play or are about to
	Conns      int    // open connections, viewers' own included
	Frames     uint64 // access units sent, all viewers together
	Bytes      uint64 // RTP and RTCP sent, framing included
	Skips      uint64 // times that a slow viewer was put forward to a key frame
	Timeouts   uint64 // viewers dropped because their connection took nothing
	Refused    uint64 // viewers and connections over the limit
	AuthErrors uint64 // wrong users or passwords
	Handshakes uint64 // of TLS that failed
	Malformed  uint64 // connections ended for what came over them
	Blocked    uint64 // connections refused because of them
}
