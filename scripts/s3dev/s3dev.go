// Package s3dev runs a real S3 server (versitygw over a folder) beside the
// programs and tests that need one, with TLS on a loopback address. It is for
// development and tests: nothing that a camera ships with imports it.
package s3dev

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"iid2secure.nl/camagent/scripts/port"
)

// Options of a server.
type Options struct {
	Dir      string // where everything is kept; created
	Binary   string // of versitygw; empty: see Binary
	CertFile string // PEM, server certificate
	KeyFile  string
	Access   string // access key id
	Secret   string
	Region   string // empty: us-east-1
	Addr     string // host:port; empty: a free port on 127.0.0.1
	Bucket   string // created if it is not there; empty: none
	LogFile  string // the server's output; empty: discarded
}

// Server is a running one.
type Server struct {
	Addr     string // host:port
	Endpoint string // https://host:port

	cmd  *exec.Cmd
	done chan struct{}
	err  error // of the process, set before done is closed
}

// health is a path that answers once the server serves.
const health = "/health"

// errPort says that somebody else took the port meanwhile.
var errPort = errors.New("the server ended at once")

// Start runs the server and waits until it answers. It ends with ctx, or Close.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Binary == "" {
		bin, err := Binary(ctx)
		if err != nil {
			return nil, err
		}
		o.Binary = bin
	}
	if err := prepare(&o); err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	fixed := o.Addr != ""
	for range 5 {
		if !fixed {
			var err error
			if o.Addr, err = port.Free(); err != nil { // it takes no port 0
				return nil, fmt.Errorf("s3 server: %w", err)
			}
		}
		s, err := run(ctx, o)
		if err == nil || fixed || !errors.Is(err, errPort) {
			return s, err
		}
	}
	return nil, fmt.Errorf("s3 server: %w five times, see %s", errPort, o.LogFile)
}

// prepare makes the folders; a bucket of this server is a folder.
func prepare(o *Options) error {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	return errors.Join(
		os.MkdirAll(filepath.Join(dir, "meta"), 0o700),
		os.MkdirAll(filepath.Join(dir, "data", o.Bucket), 0o700))
}

func run(ctx context.Context, o Options) (*Server, error) {
	cmd := exec.CommandContext(ctx, o.Binary, "--port", o.Addr, "--cert", o.CertFile, "--key", o.KeyFile,
		"--health", health, "--keep-alive", "--quiet", "posix", "--sidecar", filepath.Join(o.Dir, "meta"), filepath.Join(o.Dir, "data"))
	region := o.Region
	if region == "" {
		region = "us-east-1"
	}
	// By the environment: a command line can be read by everybody.
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+o.Access, "ROOT_SECRET_ACCESS_KEY="+o.Secret, "VGW_REGION="+region)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if o.LogFile != "" {
		f, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("s3 server: its log: %w", err)
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("s3 server: %w", err)
	}
	s := &Server{Addr: o.Addr, Endpoint: "https://" + o.Addr, cmd: cmd, done: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	if err := s.ready(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	// Whether the certificate is right is the clients' business; here it is only
	// asked whether anybody serves.
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+health, nil)
		if err != nil {
			return fmt.Errorf("s3 server: %w", err)
		}
		if resp, err := tr.RoundTrip(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.done:
			return fmt.Errorf("s3 server: %w: %w", errPort, s.err)
		case <-ctx.Done():
			return fmt.Errorf("s3 server at %s does not answer: %w", s.Addr, ctx.Err())
		case <-tick.C:
		}
	}
}

// Close ends the server and waits for it.
func (s *Server) Close() error {
	select {
	case <-s.done:
		return nil
	default:
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
	return nil
}

// Done is closed when the server has ended by itself or by Close.
func (s *Server) Done() <-chan struct{} { return s.done }
