package upload

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/spool"
)

// What only real sockets show: an uplink slower than the stall time, with
// megabytes in the kernel's queue, is no fault.
func TestM4_SlowIsNotStalled(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	cfg := s.config()
	cfg.Stall = 400 * time.Millisecond
	r := newRig(t, cfg, s.honest)
	read := make(chan struct{})
	var once atomic.Bool
	s.setFault(func(_ http.ResponseWriter, req *http.Request, _ string) bool {
		if isPut(req) && once.CompareAndSwap(false, true) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for range 24 {
				<-tick.C
				io.CopyN(io.Discard, req.Body, 512<<10)
			}
			close(read)
		}
		return false
	})
	r.clip(t, 0, spool.Routine, 13<<20)
	r.start(t)
	select {
	case <-read:
	case <-time.After(30 * time.Second):
	}
	require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
}

// No proxy of the environment, no certificate of ours for whoever asks for one.
func TestP4_S11_NoProxyNoClientCertificate(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	var shown atomic.Int32
	s := newFakeStore(t)
	s.Server.TLS.ClientAuth = tls.RequestClientCert
	s.Server.TLS.VerifyConnection = func(c tls.ConnectionState) error {
		shown.Add(int32(len(c.PeerCertificates)))
		return nil
	}
	r := honest(t, s)
	r.clip(t, 0, spool.Routine, 10)
	r.start(t)
	r.waitAll(t)
	require.Zero(t, shown.Load())
}

// The cap leaves the kernel no more than half a second to let go at once.
func TestM4_CapBoundsTheKernelsQueue(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	cfg := s.config()
	cfg.Bandwidth = 1 << 20
	r := newRig(t, cfg, s.honest)
	ls := newLines(cfg.Bandwidth)
	require.Equal(t, 512<<10, ls.queue)
	r.clip(t, 0, spool.Routine, 100_000)
	r.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.Wait(ctx, r.names[0]))
}
