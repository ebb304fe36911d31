package usbcam

import (
	"io"
	"net"
	"testing"
	"time"
)

// kernel plays the other side of USB/IP: vhci-hcd.
type kernel struct {
	t    *testing.T
	conn net.Conn
	seq  uint32
}

// plug makes a session with a kernel at its other end.
func plug(t *testing.T, config Config) (*kernel, *session) {
	t.Helper()
	near, far := net.Pipe()
	_ = far.SetDeadline(time.Now().Add(10 * time.Second))
	s := newSession(config, near)
	t.Cleanup(func() {
		far.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return &kernel{t: t, conn: far}, s
}

// head writes the head of a command and returns its number.
func (k *kernel) head(command uint32, set func(b []byte), data []byte) uint32 {
	k.t.Helper()
	k.seq++
	b := make([]byte, headSize, headSize+len(data))
	be.PutUint32(b, command)
	be.PutUint32(b[atSeq:], k.seq)
	set(b)
	if _, err := k.conn.Write(append(b, data...)); err != nil {
		k.t.Fatal(err)
	}
	return k.seq
}

// control makes one control transfer; in tells its direction.
func (k *kernel) control(kind, code byte, value, index, length int, out ...byte) (status int32, in []byte) {
	k.t.Helper()
	seq := k.head(cmdSubmit, func(b []byte) {
		if kind&0x80 != 0 {
			be.PutUint32(b[atDirection:], 1)
		}
		be.PutUint32(b[atLength:], uint32(length))
		copy(b[atSetup:], []byte{kind, code})
		le.PutUint16(b[atSetup+2:], uint16(value))
		le.PutUint16(b[atSetup+4:], uint16(index))
		le.PutUint16(b[atSetup+6:], uint16(length))
	}, out)
	a := k.answer(kind&0x80 != 0)
	if a.kind != retSubmit || a.seq != seq {
		k.t.Fatalf("answer %d to %d, want %d to %d", a.kind, a.seq, retSubmit, seq)
	}
	return a.status, a.data
}

// bulk hands over one transfer for a frame.
func (k *kernel) bulk(length int) uint32 {
	k.t.Helper()
	return k.head(cmdSubmit, func(b []byte) {
		be.PutUint32(b[atDirection:], 1)
		be.PutUint32(b[atEndpoint:], endpoint)
		be.PutUint32(b[atLength:], uint32(length))
	}, nil)
}

func (k *kernel) unlink(victim uint32) uint32 {
	k.t.Helper()
	return k.head(cmdUnlink, func(b []byte) { be.PutUint32(b[atVictim:], victim) }, nil)
}

type answer struct {
	kind, seq uint32
	status    int32
	data      []byte
}

// answer reads the next one; in tells whether a submit's carries data.
func (k *kernel) answer(in bool) answer {
	k.t.Helper()
	b := make([]byte, headSize)
	if _, err := io.ReadFull(k.conn, b); err != nil {
		k.t.Fatal(err)
	}
	a := answer{kind: be.Uint32(b), seq: be.Uint32(b[atSeq:]), status: int32(be.Uint32(b[atStatus:]))}
	if a.kind == retSubmit && in {
		a.data = make([]byte, be.Uint32(b[atActual:]))
		if _, err := io.ReadFull(k.conn, a.data); err != nil {
			k.t.Fatal(err)
		}
	}
	return a
}
