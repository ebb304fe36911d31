package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/tlscert"
)

func someAuthority(t *testing.T) *tlscert.Authority {
	t.Helper()
	a, err := tlscert.New()
	require.NoError(t, err)
	return a
}

// offered is what a camera with both doors open says.
func offered(t *testing.T) command.Live {
	t.Helper()
	a := someAuthority(t)
	return command.Live{User: "me", Password: "a/b@c",
		URLs:     map[string]string{"main": "rtsp://10.0.0.1:8554/main", "sub": "rtsp://10.0.0.1:8554/sub"},
		TLSURLs:  map[string]string{"main": "rtsps://10.0.0.1:8322/main"},
		Snapshot: "http://10.0.0.1:8554/snapshot.jpg", TLSSnapshot: "https://10.0.0.1:8322/snapshot.jpg",
		Certificate: a.CertPEM(), Fingerprint: a.Fingerprint(), Talk: true}
}

func TestM2_LiveAddressesCarryTheCredential(t *testing.T) {
	t.Parallel()
	l, err := usableLive(offered(t), liveWish{})
	require.NoError(t, err)
	require.Equal(t, "rtsp://me:a%2Fb%40c@10.0.0.1:8554/main", l.URLs["main"])
	require.Equal(t, "rtsps://me:a%2Fb%40c@10.0.0.1:8322/main", l.TLSURLs["main"])
	require.Equal(t, "http://me:a%2Fb%40c@10.0.0.1:8554/snapshot.jpg", l.Snapshot)
	require.Equal(t, "https://me:a%2Fb%40c@10.0.0.1:8322/snapshot.jpg", l.TLSSnapshot)

	var out strings.Builder
	require.NoError(t, (&ctl{out: &out}).show(l, func(w io.Writer) { writeLive(w, l, "ca.pem") }))
	require.Equal(t, strings.Join([]string{
		"main         " + l.URLs["main"], "sub          " + l.URLs["sub"], "main, TLS    " + l.TLSURLs["main"],
		"picture      " + l.Snapshot, "picture      " + l.TLSSnapshot,
		"certificate  SHA-256 " + l.Fingerprint, "             in ca.pem",
		"talk         yes, with a viewer that knows ONVIF's back channel", ""}, "\n"), out.String())
}

func TestS3_LiveTLSLeavesOutWhatIsNotEncrypted(t *testing.T) {
	t.Parallel()
	l, err := usableLive(offered(t), liveWish{tls: true})
	require.NoError(t, err)
	require.Empty(t, l.URLs)
	require.Empty(t, l.Snapshot)
	require.Len(t, l.TLSURLs, 1)
	plain := offered(t)
	plain.TLSURLs = nil
	_, err = usableLive(plain, liveWish{tls: true})
	require.ErrorIs(t, err, errNoTLS)
	_, err = usableLive(offered(t), liveWish{tls: true, stream: "sub"})
	require.ErrorContains(t, err, `no stream "sub"`)
}

func TestS3_LiveRefusesWhatACameraMustNotSay(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"file:///etc/passwd", "rtsp:", "http://10.0.0.1/main", "\x7f", "rtsps://10.0.0.1/main"} {
		l := offered(t)
		l.URLs["main"] = bad
		_, err := usableLive(l, liveWish{})
		require.ErrorContains(t, err, "not an address of rtsp", bad)
	}
	l := offered(t)
	l.Snapshot = "https://10.0.0.1/"
	_, err := usableLive(l, liveWish{})
	require.ErrorContains(t, err, "not an address of http")
	l = offered(t)
	l.Fingerprint = someAuthority(t).Fingerprint()
	_, err = usableLive(l, liveWish{})
	require.ErrorContains(t, err, "do not agree")
	l.Certificate = "none"
	_, err = usableLive(l, liveWish{})
	require.ErrorContains(t, err, "gave no certificate")
}

// echo is a TLS server that says back what it hears.
func echo(t *testing.T, a *tlscert.Authority) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: a.Certificate})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

func TestS3_RelayCarriesToTheCameraThatIsMeantAlone(t *testing.T) {
	t.Parallel()
	a := someAuthority(t)
	address := echo(t, a)
	_, err := newRelay(t.Context(), address, someAuthority(t).CertPEM())
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	_, err = newRelay(t.Context(), address, "")
	require.ErrorContains(t, err, "no address and certificate")

	r, err := newRelay(t.Context(), address, a.CertPEM())
	require.NoError(t, err)
	var open []net.Conn
	for i := range 3 {
		c, err := net.Dial("tcp", r.listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "hello %d\n", i)
		var got int
		_, err = fmt.Fscanf(c, "hello %d\n", &got)
		require.NoError(t, err)
		require.Equal(t, i, got)
		open = append(open, c)
	}
	open[0].Close()
	r.close()
	_, err = open[1].Read(make([]byte, 1))
	require.Error(t, err, "the relay has ended, and its connections are open")
}

func TestS8_PlayOverTLSKeepsCredentialOffTheCommandLine(t *testing.T) {
	t.Parallel()
	path, dir := fakePlayer(t, "exit 0")
	a := someAuthority(t)
	l := command.Live{User: "me", Password: "hunter2", Certificate: a.CertPEM(), Fingerprint: a.Fingerprint(),
		TLSURLs: map[string]string{"main": "rtsps://" + echo(t, a) + "/main"}}
	l, err := usableLive(l, liveWish{tls: true})
	require.NoError(t, err)
	require.NoError(t, playLive(t.Context(), path, "door", l, ""))
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	require.NoError(t, err)
	require.NotContains(t, string(args), "hunter2")
	input, err := os.ReadFile(filepath.Join(dir, "input"))
	require.NoError(t, err)
	require.Regexp(t, `file 'rtsp://me:hunter2@127\.0\.0\.1:\d+/main'`, string(input))
	require.NotContains(t, string(input), l.TLSURLs["main"], "the player would check nothing")
	require.ErrorContains(t, playLive(t.Context(), path, "door", l, "sub"), `no stream "sub"`)
}
