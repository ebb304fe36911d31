package rtsp

import (
	"context"
	"net"

	"github.com/bluenviron/gortsplib/v4"
)

// gortsplib makes the signalling. Media do not pass through it, hence the small
// queue; sender reports are ours, with a right time.
func (s *Server) gortsplib(ctx context.Context, d *doors) *gortsplib.Server {
	g := &gortsplib.Server{
		Handler:                  &handler{srv: s, ctx: ctx},
		RTSPAddress:              d.String(),
		WriteTimeout:             s.cfg.WriteTimeout,
		WriteQueueSize:           8,
		DisableRTCPSenderReports: true,
		AuthMethods:              methods(),
		Listen: func(string, string) (net.Listener, error) {
			return newListener(ctx, s, d), nil
		},
	}
	if d.udp != nil {
		g.UDPRTPAddress, g.UDPRTCPAddress = d.udp.rtp.LocalAddr().String(), d.udp.rtcp.LocalAddr().String()
		g.ListenPacket = s.listenPacket(d.udp)
	}
	return g
}

// signal gives a viewer gortsplib's view of its stream. Sessions that gortsplib
// takes for UDP have one each, since it looks at others of a stream without their
// lock; all others share that of the offer.
func (s *Server) signal(v *viewer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := v.offer
	if !v.way.keptAsUDP() && o.users > 0 {
		o.users++
		v.signal = o.signal
		return nil
	}
	v.signal = &gortsplib.ServerStream{Server: s.gort, Desc: s.signalled(o)}
	if err := v.signal.Initialize(); err != nil {
		v.signal = nil
		return err
	}
	if !v.way.keptAsUDP() {
		o.users, o.signal = 1, v.signal
	}
	return nil
}

// unsignal returns what nobody uses any more; Server.mu is held.
func (s *Server) unsignal(v *viewer) *gortsplib.ServerStream {
	o := v.offer
	if v.signal == nil || v.signal != o.signal {
		return v.signal
	}
	if o.users--; o.users > 0 {
		return nil
	}
	o.signal = nil
	return v.signal
}
