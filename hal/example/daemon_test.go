package example

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// daemon is the imaginary vendor's: it gives what a simulated camera films.
type daemon struct {
	socket string
	board  *sim.Board
	epoch  time.Time

	listener net.Listener
	work     sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context // of the connections
	cancel context.CancelFunc
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{socket: filepath.Join(t.TempDir(), "encoder.sock"), epoch: time.Now(),
		board: sim.New(sim.Config{Streams: []hal.StreamInfo{{Name: "main",
			Default: hal.VideoConfig{Width: 320, Height: 180, FPS: 25, GOP: 25, Bitrate: 200_000}}}})}
	var err error
	if d.listener, err = net.Listen("unix", d.socket); err != nil {
		t.Fatal(err)
	}
	d.ctx, d.cancel = context.WithCancel(t.Context())
	d.work.Go(func() {
		for {
			conn, err := d.listener.Accept()
			if err != nil {
				return
			}
			d.serve(d.life(), conn)
		}
	})
	t.Cleanup(func() {
		d.listener.Close()
		d.cancel()
		d.work.Wait()
		d.board.Close()
	})
	return d
}

func (d *daemon) life() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ctx
}

// unplug ends the connections and hides the socket.
func (d *daemon) unplug() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancel()
	return os.Rename(d.socket, d.socket+".away")
}

func (d *daemon) replug() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return os.Rename(d.socket+".away", d.socket)
}

// serve sends frames to one reader until it, or the daemon, has enough.
func (d *daemon) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v, err := d.board.OpenVideo(ctx, "main", hal.VideoConfig{})
	if err != nil {
		conn.Close()
		return
	}
	defer v.Close()
	d.work.Go(func() { // its wishes, and its end
		defer cancel()
		for letter := make([]byte, 1); ; {
			if _, err := conn.Read(letter); err != nil {
				return
			}
			if letter[0] == 'K' {
				d.board.RequestKeyframe("main")
			}
		}
	})
	defer conn.Close()
	c := v.Config()
	head := binary.LittleEndian
	var b []byte
	for _, n := range []int{c.Width, c.Height, c.FPS, c.GOP, c.Bitrate} {
		b = head.AppendUint32(b, uint32(n))
	}
	for {
		if _, err := conn.Write(b); err != nil {
			return
		}
		au, err := v.Next(ctx)
		if err != nil {
			return
		}
		var frame []byte
		for n := range au.NALs() {
			frame = append(append(frame, 0, 0, 0, 1), n...)
		}
		b = head.AppendUint32(b[:0], uint32(au.Seq))
		b = head.AppendUint32(b, uint32(len(frame)))
		b = head.AppendUint64(b, uint64(au.Time.Sub(d.epoch).Microseconds()))
		b = append(b, frame...)
	}
}
