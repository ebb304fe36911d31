package agent

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media/rtsp"
	"iid2secure.nl/camagent/media/talk"
)

// serveRTSP serves live viewers while the camera is bound. M2, S3.
func (a *Agent) serveRTSP(ctx context.Context) error {
	if a.cfg.RTSP.Off() {
		a.log.Info("no live server: rtsp.address and rtsp.tls_address are empty")
		<-ctx.Done()
		return ctx.Err()
	}
	return a.camera.bound.serve(ctx, func(ctx context.Context) error {
		return a.camera.reopen(ctx, "rtsp", a.serveOnce)
	})
}

// serveOnce serves until ctx or the epoch ends.
func (a *Agent) serveOnce(ctx context.Context, up func()) error {
	epoch, _, _ := a.binding.Binding()
	s := rtsp.New(a.liveConfig(), a.streams, a.binding.Credential, a.camera.wantKey)
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		defer cancel()
		select {
		case <-s.Ready():
			a.server.Store(s)
			up()
			a.recheck(ctx, s, epoch)
		case <-ctx.Done():
		}
	})
	defer a.server.Store(nil)
	defer beside.Wait()
	defer cancel()
	return s.Run(ctx)
}

// clockSteps bounds how late an expiry is noticed when the clock is set.
const clockSteps = 10 * time.Second

// recheck has the server look again at who may watch and talk whenever that may
// have changed, so that a membership and what came of it end together. It
// returns when ctx or the epoch ends.
func (a *Agent) recheck(ctx context.Context, s *rtsp.Server, epoch uint64) {
	for {
		changed := a.binding.Changed()
		if now, _, _ := a.binding.Binding(); now != epoch {
			return
		}
		var due <-chan time.Time
		if in, ok := a.binding.NextExpiry(); ok {
			due = time.After(min(in, clockSteps))
		}
		s.Recheck()
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
			return
		}
	}
}

// liveConfig is how the configuration and this camera want the server.
func (a *Agent) liveConfig() rtsp.Config {
	c := &a.cfg.RTSP
	cfg := rtsp.Config{
		Address: c.Address, TLSAddress: c.TLSAddress, Certificate: a.liveCertificate,
		TCP: c.TCP, UDP: c.UDP, Multicast: c.Multicast,
		MulticastGroup: a.multicastGroup(), MulticastPort: c.MulticastPort, MulticastInterface: c.MulticastInterface,
		MaxViewers: c.MaxViewers, MaxConns: c.MaxConnections, SendBuffer: c.SendBufferKB << 10,
		WrongAnswers: c.WrongAnswers, BlockTime: c.BlockTime,
		LoginTimeout: c.LoginTimeout, WriteTimeout: c.WriteTimeout, MaxLag: c.MaxLag,
		Talk: a.desk, MayTalk: a.mayTalk, Log: a.log.Named("rtsp"),
	}
	if c.Snapshot && a.able(hal.CapSnapshot) {
		cfg.Snapshot = a.camera.snapshot
	}
	return cfg
}

var errNotBound = errors.New("the camera belongs to nobody")

// liveCertificate is what a TLS client gets, of the present epoch.
func (a *Agent) liveCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	authority, ok := a.binding.Live()
	if !ok {
		return nil, errNotBound
	}
	return authority.Certificate(hello)
}

// multicastGroup is the configured group of the first stream, or one made of the
// serial, so that cameras on one network rarely share: an even address of
// 239.192.0.0/14 (RFC 2365, 6.2), as the second stream has the next one.
func (a *Agent) multicastGroup() netip.Addr {
	if g := a.cfg.RTSP.Group(); g.IsValid() {
		return g
	}
	sum := sha256.Sum256([]byte("multicast " + a.id.Serial.Plain()))
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 239<<24|192<<16|binary.BigEndian.Uint32(sum[:])&(1<<18-2))
	return netip.AddrFrom4(ip)
}

// openDesk makes the one desk for all who talk, if there is a speaker.
func (a *Agent) openDesk() error {
	d := talk.New(a.board, talk.Config{Log: a.log.Named("intercom")})
	if d.Able() {
		a.desk = d
	}
	return nil
}

// intercom plays what members say while the camera is bound. M6.
func (a *Agent) intercom(ctx context.Context) error {
	if a.desk == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.camera.bound.serve(ctx, a.desk.Run)
}

// mayTalk tells whether a member may talk now.
func (a *Agent) mayTalk(member string) bool {
	return a.desk != nil && a.binding.Permitted(member, cloud.Talk)
}

// liveStatus tells what the server does, and a member who watches: an admin sees
// everybody, others themselves.
func (a *Agent) liveStatus(member string) command.LiveStatus {
	out := command.LiveStatus{Sessions: []command.LiveSession{}}
	s := a.server.Load()
	if s == nil {
		return out
	}
	st := s.Stats()
	out.Viewers, out.Connections, out.Frames, out.Bytes = st.Viewers, st.Conns, st.Frames, st.Bytes
	out.Skips, out.Timeouts = st.Skips, st.Timeouts
	out.Refused, out.WrongAnswers, out.Blocked = st.Refused, st.AuthErrors, st.Blocked
	out.Handshakes, out.Malformed = st.Handshakes, st.Malformed
	names := map[string]string{}
	for _, m := range a.binding.Members() {
		names[m.ID] = m.Name
	}
	admin := a.binding.Permitted(member, cloud.Admin)
	tells := func(user string) bool { return admin || user == member }
	if a.desk != nil {
		if who, ok := a.desk.Talking(); ok && tells(who) {
			out.Talking = names[who]
		}
	}
	out.Sessions = liveSessions(s.Sessions(), names, tells)
	return out
}

// liveSessions lists those of the users that tells allows.
func liveSessions(list []rtsp.Session, names map[string]string, tells func(user string) bool) []command.LiveSession {
	out := []command.LiveSession{}
	for _, v := range list {
		if tells(v.User) && len(out) < command.MaxLiveSessions {
			out = append(out, command.LiveSession{
				Member: names[v.User], Address: v.Address, Stream: v.Stream, Transport: v.Transport,
				Since: v.Since.UTC().Format(time.RFC3339), Frames: v.Frames, Skips: v.Skips})
		}
	}
	return out
}

func (a *Agent) liveGet(_ context.Context, member string, _ command.None) (command.Live, error) {
	password, ok := a.binding.Credential(member)
	if !ok {
		return command.Live{}, cloud.Refuse(cloud.CodePermission, "live.get needs the permission %q", cloud.Live)
	}
	if a.cfg.RTSP.Off() {
		return command.Live{}, cloud.Refuse(cloud.CodeUnable, "live.get: this camera is configured without a live server (rtsp.address, rtsp.tls_address)")
	}
	s := a.server.Load()
	if s == nil {
		return command.Live{}, cloud.Refuse(cloud.CodeFailed, "live.get: the live server is not running: see the conditions of status")
	}
	live := command.Live{User: member, Password: password, Talk: a.mayTalk(member), Multicast: a.cfg.RTSP.Multicast}
	shoots := a.liveConfig().Snapshot != nil
	if host := localAddress(s.Addr()); host != "" {
		live.URLs = a.liveURLs("rtsp", host)
		if shoots {
			live.Snapshot = "http://" + host + "/snapshot.jpg"
		}
	}
	authority, bound := a.binding.Live()
	if host := localAddress(s.TLSAddr()); host != "" && bound {
		live.TLSURLs = a.liveURLs("rtsps", host)
		if shoots {
			live.TLSSnapshot = "https://" + host + "/snapshot.jpg"
		}
		live.Certificate, live.Fingerprint = authority.CertPEM(), authority.Fingerprint()
	}
	return live, nil
}

func (a *Agent) liveURLs(scheme, host string) map[string]string {
	urls := map[string]string{}
	for _, s := range a.streams {
		urls[s.Name] = scheme + "://" + host + "/" + s.Name
	}
	return urls
}

// localAddress is addr for a viewer on the local network: an unspecified host is
// replaced by the address of an interface that is up. "" for none.
func localAddress(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = interfaceAddress()
	}
	return net.JoinHostPort(host, port)
}

func interfaceAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	best := "127.0.0.1"
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		if best == "127.0.0.1" {
			best = n.IP.String()
		}
	}
	return best
}
