// Package s3dev runs a real S3 server (versitygw over a folder) beside the
// programs and tests that need one, with TLS on a loopback address. It is for
// development and tests: nothing that a camera ships with imports it.
package s3dev

import "context"

// Options of a server.
type Options struct {
	Dir      string // where the buckets' contents are kept; created
	Binary   string // of versitygw; empty: see Binary
	CertFile string // PEM, server certificate
	KeyFile  string
	Access   string // access key id
	Secret   string
	Addr     string // host:port; empty: a free port on 127.0.0.1
	Bucket   string // created if it is not there; empty: none
	LogFile  string // the server's output; empty: discarded
}

// Server is a running one.
type Server struct {
	Addr     string // host:port
	Endpoint string // https://host:port
	serverState
}

// Start runs the server and waits until it answers. It ends with ctx, or Close.
func Start(ctx context.Context, o Options) (*Server, error) { return start(ctx, o) }

// Close ends the server and waits for it.
func (s *Server) Close() error { return s.close() }

// Done is closed when the server has ended by itself or by Close.
func (s *Server) Done() <-chan struct{} { return s.done }

// Binary returns the path of versitygw: the environment's VERSITYGW, or one
// built from the module in tools/ into the user's cache, once.
func Binary(ctx context.Context) (string, error) { return binary(ctx) }
