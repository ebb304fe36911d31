// Floor is the least that a server in Go can do to serve one video over
// RTSP/TCP, for bench to compare with: it packetises a frame once, and a
// goroutine with a channel for each viewer sends it in one write. It asks for no
// password, knows no transport but TCP, no sound, no reports but one at the
// beginning, and drops a viewer that does not keep up.
//
//	floor CAMERA [ARGUMENT...]
//
// runs a sidecar (docs/sidecar.md) for its frames, writes its address to
// standard output, and ends when standard input does.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: floor CAMERA [ARGUMENT...]")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(argv []string) error {
	in, err := startCamera(argv)
	if err != nil {
		return err
	}
	first, err := in.next()
	if err != nil {
		return err
	}
	s := &server{sdp: describe(first), began: first.captured, viewers: map[*viewer]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- s.feed(in, first) }()
	go func() { failed <- s.accept(ln) }()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		failed <- nil
	}()
	fmt.Println(ln.Addr())
	return <-failed
}

// server hands every frame to all viewers.
type server struct {
	sdp   string
	began uint64 // capture time of RTP time 0

	mu      sync.Mutex
	viewers map[*viewer]bool
	gop     [][]byte // the frames since the newest key frame
}

// queue is how many frames wait for a viewer before it is dropped; a GOP fits.
const queue = 128

// viewer is one that plays.
type viewer struct {
	conn   net.Conn
	frames chan []byte
}

// feed packetises frames and passes them on until the camera ends.
func (s *server) feed(in *source, f frame) error {
	var p packetiser
	for {
		s.pass(p.pack(f, ticks(f.captured-s.began)), f.key())
		var err error
		if f, err = in.next(); err != nil {
			return err
		}
	}
}

func (s *server) pass(packets []byte, key bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key {
		s.gop = nil
	}
	s.gop = append(s.gop, packets)
	for v := range s.viewers {
		select {
		case v.frames <- packets:
		default:
			s.drop(v)
		}
	}
}

// add gives a new viewer a report and the GOP so far, and all that follows.
func (s *server) add(c net.Conn) *viewer {
	v := &viewer{conn: c, frames: make(chan []byte, queue)}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.frames <- report(s.began)
	for _, f := range s.gop {
		v.frames <- f
	}
	s.viewers[v] = true
	go v.send()
	return v
}

func (s *server) remove(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(v)
}

func (s *server) drop(v *viewer) {
	if s.viewers[v] {
		delete(s.viewers, v)
		close(v.frames)
		v.conn.Close()
	}
}
