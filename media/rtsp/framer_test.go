package rtsp

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	rtspconn "github.com/bluenviron/gortsplib/v4/pkg/conn"
	"github.com/stretchr/testify/require"
)

const simple = "OPTIONS rtsp://h/main RTSP/1.0\r\nCSeq: 1\r\n\r\n"

func body(n int) string {
	return fmt.Sprintf("GET_PARAMETER rtsp://h/main RTSP/1.0\r\nCSeq: 1\r\ncontent-length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
}

func interleavedFrame(channel byte, n int) string {
	return string([]byte{'$', channel, byte(n >> 8), byte(n)}) + strings.Repeat("m", n)
}

// A framer takes what clients send, in whatever pieces, and nothing that is too
// large or that gortsplib might read in another way.
func TestS3_FramerBoundsWhatClientsSend(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]error{
		simple:                          nil,
		"\r\n" + simple + simple:        nil,
		body(10) + simple:               nil,
		body(0) + simple:                nil,
		body(maxRequest - 1000):         nil,
		interleavedFrame(1, 0) + simple: nil,
		interleavedFrame(0, 9) + simple + interleavedFrame(1, 2000):                         nil,
		strings.Replace(simple, "CSeq", "X-Long: "+strings.Repeat("y", 2000)+"\r\nCSeq", 1): nil,

		body(maxRequest): errTooLarge,
		strings.Split(body(4), "4")[0] + "4294967296\r\n\r\n":                      errGarbage,
		"OPTIONS * RTSP/1.0\r\nContent-Length: 2147483647\r\n\r\n":                 errTooLarge,
		"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n":                         errGarbage,
		"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n":     errGarbage,
		"OPTIONS * RTSP/1.0\r\nX: " + strings.Repeat("y", maxRequest) + "\r\n\r\n": errTooLarge,
		"OPTIONS * RTSP/1.0\r\n" + strings.Repeat("X: y\r\n", maxRequest/6):        errTooLarge,
		strings.Repeat("\r\n", maxRequest):                                         errTooLarge,
		strings.Repeat(simple, 1000):                                               errTooLarge, // none of them answered
		interleavedFrame(2, 10):                                                    errNoTrack,
		interleavedFrame(0, maxRequest+1):                                          errTooLarge,
		"options * RTSP/1.0\r\n\r\n":                                               errGarbage,
		"HELLO * RTSP/1.0\r\n\r\n":                                                 errGarbage,
		"RTSP/1.0 200 OK\r\n\r\n":                                                  errGarbage,
		"\x16\x03\x01\x02\x00":                                                     errGarbage, // TLS
		"OPTIONS\r\n":                                                              errGarbage,
		"OPTIONS * RTSP/1.0\nCSeq: 1\n\n":                                          errGarbage,
		"OPTIONS * RTSP/1.0\r\nA: b\nContent-Length: 9\r\n":                        errGarbage,
		"OPTIONS * RTSP/1.0\r\nno colon\r\n":                                       errGarbage,
		"OPTIONS * RTSP/1.0\r\n:first\r\n":                                         errGarbage,
	} {
		for _, piece := range []int{1, 7, len(input)} {
			var f framer
			f.open[0], f.open[1] = true, true
			require.Equal(t, want, takeInPieces(&f, input, piece), "%.60q in pieces of %d", input, piece)
			if want == nil {
				require.Equal(t, atBoundary, f.state, "%.60q", input)
			}
		}
	}
}

func takeInPieces(f *framer, input string, piece int) error {
	for len(input) > 0 {
		n := min(piece, len(input))
		if err := f.take([]byte(input[:n])); err != nil {
			return err
		}
		input = input[n:]
	}
	return nil
}

func TestS3_FramerBeginsAnewWithEachAnswer(t *testing.T) {
	t.Parallel()
	var f framer
	for range 1000 {
		require.NoError(t, f.take([]byte(body(100))))
		f.answered()
	}
}

// FuzzFramer: gortsplib never finds the end of a request where the framer does
// not, so nothing can be hidden from it.
func FuzzFramer(f *testing.F) {
	for _, s := range []string{
		simple, body(10) + simple, interleavedFrame(1, 5) + simple, "\r\n" + simple,
		"OPTIONS * RTSP/1.0\r\nA: b\nContent-Length: 9\r\n\r\n", "SETUP rtsp://h/ RTSP/1.0\r\n:a\r\nContent-Length: 3\r\n\r\nabc",
		"OPTIONS\r\nContent-Length:9 rtsp://h RTSP/1.0\r\n\r\n", "PLAY  RTSP/1.0\r\nContent-Length:  2\r\n\r\nxy" + simple,
		"PLAY rtsp://h RTSP/1.0\r\nContent-Length: 2\r\ncontent-length : 5\r\n\r\nxy" + simple,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var mine framer
		for i := range mine.open {
			mine.open[i] = true
		}
		in := bytes.NewReader(input)
		theirs := rtspconn.NewConn(struct {
			io.Reader
			io.Writer
		}{iotest.OneByteReader(in), io.Discard})
		at := 0
		for {
			what, err := theirs.Read()
			if err != nil {
				return
			}
			end := len(input) - in.Len()
			if mine.take(input[at:end]) != nil {
				return
			}
			mine.answered()
			at = end
			if mine.state != atBoundary {
				t.Fatalf("after %q the framer is in state %d, gortsplib has read %T", input[:at], mine.state, what)
			}
			if r, ok := what.(*base.Request); ok && len(r.Body) > maxRequest {
				t.Fatalf("a body of %d bytes", len(r.Body))
			}
		}
	})
}

// What a client sends that is no RTSP ends its connection at once, before it has
// cost memory, whether it comes plain or over TLS; a viewer beside it misses
// nothing. S3.
func TestS3_NonsenseEndsTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, withTLS)
	r.play()
	good := r.raw()
	good.play()
	watched := good.pictures()
	for _, nonsense := range []string{
		"DESCRIBE " + r.plainURL("main") + " RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 4294967295\r\n\r\n",
		"DESCRIBE " + r.plainURL("main") + " RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100000\r\n\r\n",
		"DESCRIBE " + r.plainURL("main") + " RTSP/1.0\r\nCSeq: 1\r\nX: " + strings.Repeat("x", 1<<20),
		"DESCRIBE " + r.plainURL("main") + " RTSP/1.0\r\n" + strings.Repeat("X: y\r\n", 200000),
		"BREW " + r.plainURL("main") + " RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"$\x00\xff\xff", strings.Repeat("\x00", 100), "\x80\x60garbage", "rtsp", "RTSP/1.0 200 OK\r\n\r\n",
	} {
		for _, secure := range []bool{false, true} {
			before := r.Stats().Malformed
			c := r.connect(secure)
			_, _ = io.WriteString(c.out, nonsense) // the server may be gone before the end
			require.True(t, c.closed(), "%.40q", nonsense)
			if len(nonsense) < maxRequest { // gortsplib ends the others sooner
				eventually(t, fmt.Sprintf("%.40q counted", nonsense), func() bool { return r.Stats().Malformed == before+1 })
			}
		}
	}
	_, err := watched.next()
	require.NoError(t, err)
	require.NotZero(t, r.log.FilterMessageSnippet("what came over it").Len())
}

// Viewers that play may not send what they did not set up either.
func TestS3_NonsenseOfAViewerEndsIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.push(0, time.Now())
	for _, c := range []struct {
		what string
		ends bool
	}{
		{interleavedFrame(1, 52), false}, {interleavedFrame(0, 1400), false}, {strings.Repeat(interleavedFrame(1, 1000), 100), false},
		{interleavedFrame(2, 52), true}, {interleavedFrame(255, 0), true}, {interleavedFrame(1, 65535), true}, {"hello", true},
	} {
		client := r.raw()
		client.play()
		_, err := io.WriteString(client.out, c.what)
		require.NoError(t, err)
		if c.ends {
			require.True(t, client.closed())
			continue
		}
		require.Equal(t, base.StatusOK, client.do(base.GetParameter, "", nil).StatusCode, "%.20q", c.what)
		require.Equal(t, base.StatusOK, client.do(base.Teardown, "", nil).StatusCode)
	}
}

// A thousand connections that begin the largest requests hold little memory. Not
// parallel: it measures the whole process.
func TestS3_ManyHalfRequestsCostLittle(t *testing.T) {
	const n = 500
	r := newRig(t, func(c *Config) { c.MaxConns, c.LoginTimeout = n, 2*patience })
	r.push(0, time.Now())
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := heap()
	all := make([]*rawClient, n)
	half := "DESCRIBE " + r.plainURL("main") + " RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 16000\r\nX: " + strings.Repeat("x", 200)
	for i := range all {
		all[i] = r.raw()
		_, err := io.WriteString(all[i].out, half)
		require.NoError(t, err)
	}
	eventually(t, "all of them", func() bool { return r.Stats().Conns == n })
	perConn := (heap() - before) / n
	t.Logf("%d bytes a connection, this client's end included", perConn)
	require.Less(t, perConn, int64(48<<10))
	require.Equal(t, n, r.Stats().Conns)
}
