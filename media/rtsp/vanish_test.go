package rtsp

import (
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"
)

// Viewers whose cable is pulled free everything they had, whether media go to them
// then or not. Those over plain UDP and multicast end by gortsplib's minute.
func TestR1_PulledCable(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	short := vanishing{session: time.Minute, unacked: time.Second, idle: time.Second, probe: time.Second}
	for _, plays := range []bool{true, false} {
		r := newRigWith(t, withTLS, func(s *Server) { s.vanish = short })
		if plays {
			r.play()
			eventually(t, "a picture", func() bool { return len(r.units()) > 0 })
		} else {
			r.push(0, time.Now())
		}
		for _, c := range []struct {
			tls       bool
			transport string
		}{
			{false, "RTP/AVP/TCP;unicast"}, {true, "RTP/AVP/TCP;unicast"}, {true, "RTP/SAVP/TCP;unicast"},
			{true, "RTP/SAVP;unicast;client_port=35030-35031"},
		} {
			client := r.connect(c.tls)
			require.Equal(t, base.StatusOK, client.login().StatusCode)
			require.Equal(t, base.StatusOK, client.do(base.Setup, "/trackID=0", base.Header{"Transport": base.HeaderValue{c.transport}}).StatusCode)
			require.Equal(t, base.StatusOK, client.do(base.Play, "", nil).StatusCode)
			go func() { // reads what comes
				for {
					if _, _, err := client.read(); err != nil {
						return
					}
				}
			}()
		}
		require.Equal(t, 4, r.Viewers())
		ip := program(t, "ip", "iproute2")
		run(t, ip, "link", "set", "dev", "lo", "down")
		pulled := time.Now()
		eventually(t, "all gone", func() bool {
			return r.Viewers() == 0 && r.Stats().Conns == 0 && r.claimed() == 0 && r.stream.Ring.Stats().Readers == 0
		})
		t.Logf("media %v: all gone after %v", plays, time.Since(pulled))
		r.quiet()
		run(t, ip, "link", "set", "dev", "lo", "up")
	}
}
