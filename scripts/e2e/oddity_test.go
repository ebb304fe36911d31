package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fuzz sends what no client would, on both ports, as strangers and as viewers.
func (a *siege) fuzz(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	end, odd := time.Now().Add(attackFuzzing), oddities()
	var sent atomic.Int64
	err := each(t.Context(), 4, 4, func(worker int) error {
		r := rand.New(rand.NewPCG(seed, uint64(worker)))
		for time.Now().Before(end) {
			if err := a.annoy(r, odd); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d connections of garbage", sent.Load())
	if sent.Load() < 200 {
		t.Errorf("only %d connections", sent.Load())
	}
}

// annoy opens one connection, sends something, and leaves without a word; only
// that it can't connect is an error.
func (a *siege) annoy(r *rand.Rand, odd []oddity) error {
	// Many addresses, so that none is refused for what looks like a guess.
	from, address := fmt.Sprintf("127.4.%d.%d", r.IntN(256), 1+r.IntN(254)), a.main.Host
	speaks := []string{"RTSP", "RTSP", "RTSP", "RTSPS", "nothing"}[r.IntN(5)]
	if speaks != "RTSP" {
		address = a.tls
	}
	conn, err := dialFrom(from, address, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // it is open
	if speaks == "RTSPS" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // whoever it is
	}
	c := newRTSPClient(conn, a.main)
	if speaks != "nothing" && r.IntN(3) == 0 && c.play(a.main.User) != nil {
		return nil
	}
	for range 1 + r.IntN(4) {
		o := odd[r.IntN(len(odd))]
		b := mutate(r, []byte(strings.NewReplacer("URL", c.url, "SESSION", c.session).Replace(o.text)))
		if r.IntN(4) == 0 {
			b, o.more = b[:r.IntN(len(b)+1)], 0 // half of it
		}
		if _, err := conn.Write(b); err != nil {
			return nil
		}
		if _, err := conn.Write(a.filler[:o.more]); err != nil {
			return nil
		}
	}
	if r.IntN(4) == 0 { // it may wait for an answer
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) //nolint:errcheck // it is open
		io.CopyN(io.Discard, conn, 64<<10)                          //nolint:errcheck // whatever comes
	}
	return nil
}

// oddity is a request, or media, that is wrong or is to become so, and how many
// more bytes follow.
type oddity struct {
	text string
	more int
}

func oddities() []oddity {
	return []oddity{
		{"DESCRIBE URL RTSP/1.0\r\nCSeq: 1\r\n\r\n", 0},
		{"SETUP URL/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nSession: SESSION\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n", 0},
		{"SETUP URL/trackID=7 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP;unicast;client_port=1-65535;destination=10.0.0.1\r\n\r\n", 0},
		{"PLAY URL/ RTSP/1.0\r\nCSeq: 3\r\nSession: SESSION\r\nRange: npt=0.000-\r\n\r\n", 0},
		{"PAUSE URL/ RTSP/1.0\r\nCSeq: 4\r\nSession: SESSION\r\n\r\n", 0},
		{"GET_PARAMETER URL/ RTSP/1.0\r\nCSeq: 5\r\nSession: SESSION\r\nContent-Length: 4294967296\r\n\r\n", 1 << 20},
		{"OPTIONS * RTSP/1.0\r\nCSeq: 6\r\nX: ", 1 << 20},
		{"OPTIONS * RTSP/1.0\r\nCSeq: 6\r\n" + strings.Repeat("X: y\r\n", 1000) + "\r\n", 0},
		{"ANNOUNCE URL RTSP/1.0\r\nCSeq: 7\r\nContent-Type: application/sdp\r\nContent-Length: 1048576\r\n\r\n", 1 << 20},
		{"TEARDOWN URL/ RTSP/1.0\r\nCSeq: 8\r\nSession: SESSION\r\n\r\n", 0},
		{"GET /snapshot.jpg HTTP/1.1\r\nHost: x\r\n\r\n", 0},
		{"GET /", 1 << 20},
		{"POST /snapshot.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n", 1 << 20},
		{"GET /snapshot.jpg HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 5000) + "\r\n", 0},
		{"$\x00\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x00", 0},
		{"$\x01\xff\xff", 70000},
		{"$\xfe\x00\x00$\x00\x00\x01x", 0},
		{"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", 3000},
		{"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", 0},
	}
}

// mutate changes some bytes near the beginning, where it matters.
func mutate(r *rand.Rand, b []byte) []byte {
	for range r.IntN(8) {
		if len(b) < 8 {
			break
		}
		at := r.IntN(min(len(b)-4, 300))
		switch r.IntN(4) {
		case 0:
			b[at] = byte(r.Uint32())
		case 1:
			b = slices.Delete(b, at, at+1)
		case 2:
			b = slices.Insert(b, at, "\r\n $:\x00,;"[r.IntN(8)])
		case 3:
			b = slices.Delete(b, at, at+4)
		}
	}
	return b
}
