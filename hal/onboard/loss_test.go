package onboard

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// wirecutter stands between us and a streamer, and leaves out the RTP packets
// that drop tells, counted from 0.
func wirecutter(t *testing.T, to string, drop func(n int) bool) (addr string) {
	t.Helper()
	return accept(t, func(c net.Conn) {
		defer c.Close()
		s, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer s.Close()
		go func() { io.Copy(s, c); s.Close() }()
		cut(c, bufio.NewReader(s), drop)
	})
}

// cut copies answers as they are, and interleaved packets (RFC 2326, 10.12)
// that are not dropped.
func cut(to io.Writer, from *bufio.Reader, drop func(n int) bool) {
	for n := 0; ; {
		b, err := from.ReadByte()
		if err != nil {
			return
		}
		piece := []byte{b}
		if b == '$' {
			head := make([]byte, 3)
			if _, err := io.ReadFull(from, head); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint16(head[1:]))
			if _, err := io.ReadFull(from, body); err != nil {
				return
			}
			if head[0] == 0 {
				if n++; drop(n - 1) {
					continue
				}
			}
			piece = append(append(piece, head...), body...)
		}
		if _, err := to.Write(piece); err != nil {
			return
		}
	}
}

// R4: packets that a streamer drops cost the rest of their GOP, which is told,
// and nothing that is handed out is damaged.
func TestR4_LostPacketsCostTheRestOfTheirGOP(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	s := stream(t, "/main", f.shown())
	addr := wirecutter(t, s.addr, func(n int) bool { return n == 70 || n == 71 || n == 150 })
	v := open(t, board(t, "rtsp://"+addr+"/main"))
	at, losses := -1, 0
	for at < pictures-2*gop {
		au := read(t, v, 1)[0]
		if au.Lost > 0 {
			losses++
		}
		i := at + 1 + int(au.Lost)
		if au.Lost > 0 { // whole pictures may have gone unseen
			for i%gop != 0 {
				i++
			}
		}
		f.same(t, i, &au)
		if at = i; !au.Key && au.Lost > 0 {
			t.Fatal("no key frame after a loss")
		}
	}
	if losses == 0 || losses > 2 {
		t.Errorf("%d losses were told, want 1 or 2", losses)
	}
}
