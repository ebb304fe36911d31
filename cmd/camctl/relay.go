package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"iid2secure.nl/camagent/agent/command"
)

// playLive plays a stream (default: the first) of what the camera offers: over
// TLS if there is nothing else.
func playLive(ctx context.Context, program, label string, l command.Live, stream string) error {
	if stream == "" {
		stream = streamNames[0]
	}
	title := label + " " + stream
	if plain := l.URLs[stream]; plain != "" {
		return play(ctx, program, title, plain, l.Password)
	}
	u, err := url.Parse(l.TLSURLs[stream])
	if err != nil || u.Host == "" {
		return fmt.Errorf("live: the camera has no stream %q", stream)
	}
	r, err := newRelay(ctx, u.Host, l.Certificate)
	if err != nil {
		return err
	}
	defer r.close()
	u.Scheme, u.Host = "rtsp", r.listener.Addr().String()
	return play(ctx, program, title, u.String(), l.Password)
}

// relayWait bounds what it takes to reach the camera.
const relayWait = 10 * time.Second

// relay carries a player's connections, which end on this machine, to a camera
// over TLS, since players do not check whose certificate they are shown.
type relay struct {
	listener net.Listener
	camera   string // host:port
	tls      *tls.Config
	work     sync.WaitGroup
	cancel   context.CancelFunc
}

// newRelay makes sure that the camera is the one whose certificate is given, and
// then listens on loopback, until ctx ends or close is called.
func newRelay(ctx context.Context, camera, certificate string) (*relay, error) {
	roots := x509.NewCertPool()
	host, _, err := net.SplitHostPort(camera)
	if err != nil || !roots.AppendCertsFromPEM([]byte(certificate)) {
		return nil, errors.New("live: the camera gave no address and certificate to check")
	}
	r := &relay{camera: camera, tls: &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}}
	c, err := r.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("live: %s: %w", camera, err)
	}
	c.Close()
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	ctx, r.cancel = context.WithCancel(ctx)
	context.AfterFunc(ctx, func() { r.listener.Close() })
	r.work.Go(func() { r.serve(ctx) })
	return r, nil
}

func (r *relay) close() {
	r.cancel()
	r.work.Wait()
}

func (r *relay) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, relayWait)
	defer cancel()
	d := tls.Dialer{Config: r.tls}
	return d.DialContext(ctx, "tcp", r.camera)
}

func (r *relay) serve(ctx context.Context) {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() { r.carry(ctx, c) })
	}
}

// carry copies both ways until either side or ctx ends.
func (r *relay) carry(ctx context.Context, player net.Conn) {
	defer player.Close()
	camera, err := r.dial(ctx)
	if err != nil {
		return
	}
	defer camera.Close()
	end := func() {
		player.Close()
		camera.Close()
	}
	defer context.AfterFunc(ctx, end)()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(player, camera) //nolint:errcheck // its end is the end of the connection
		end()
	})
	io.Copy(camera, player) //nolint:errcheck // the same
	end()
	back.Wait()
}
