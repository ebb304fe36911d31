// Gortsplib records a camera's stream with gortsplib's client, for the tests:
// pictures as Annex B (video.h264), the payloads of sound (sound.ulaw), and when
// each was captured (times.json). The address, with user and password, comes
// from RTSP_URL.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

func main() {
	transport := flag.String("transport", "tcp", "tcp, udp or multicast")
	count := flag.Int("pictures", 0, "how many; 0: until it is interrupted")
	out := flag.String("out", ".", "folder to write to")
	roots := flag.String("roots", "", "PEM file by which to know the camera, for rtsps")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *transport, *roots, *out, *count); err != nil {
		fmt.Fprintln(os.Stderr, "gortsplib:", err)
		os.Exit(1)
	}
}

// socketBuffer holds the packets that come while this process waits for a processor.
const socketBuffer = 4 << 20

func newClient(transport, roots string, u *base.URL) (*gortsplib.Client, error) {
	t, ok := map[string]gortsplib.Transport{
		"tcp": gortsplib.TransportTCP, "udp": gortsplib.TransportUDP, "multicast": gortsplib.TransportUDPMulticast,
	}[transport]
	if !ok {
		return nil, fmt.Errorf("transport %q is none of tcp, udp, multicast", transport)
	}
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &t, UDPReadBufferSize: socketBuffer, DialContext: dialPolitely}
	if roots == "" {
		return c, nil
	}
	pem, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", roots)
	}
	c.TLSConfig = &tls.Config{RootCAs: pool}
	return c, nil
}

func run(ctx context.Context, transport, roots, out string, count int) error {
	u, err := base.ParseURL(os.Getenv("RTSP_URL"))
	if err != nil {
		return fmt.Errorf("RTSP_URL: %w", err)
	}
	c, err := newClient(transport, roots, u)
	if err != nil {
		return err
	}
	r, err := newRecorder(c, out, count)
	if err != nil {
		return err
	}
	if err := play(ctx, c, u, r); err != nil {
		return errors.Join(err, r.close())
	}
	return r.close()
}

// play plays until r has enough, then says goodbye.
func play(ctx context.Context, c *gortsplib.Client, u *base.URL, r *recorder) error {
	if err := c.Start2(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	err := start(c, u, r)
	if err == nil {
		select {
		case err := <-ended:
			return err
		case <-r.enough:
		case <-ctx.Done():
		}
	}
	c.Close()
	<-ended
	return err
}

func start(c *gortsplib.Client, u *base.URL, r *recorder) error {
	desc, _, err := c.Describe(u)
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	if err := r.attach(desc); err != nil {
		return err
	}
	if err := c.SetupAll(desc.BaseURL, desc.Medias); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	r.listen()
	if _, err := c.Play(nil); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	return nil
}
