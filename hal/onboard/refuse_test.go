package onboard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

func openFails(t *testing.T, b *Board, kind error, words ...string) {
	t.Helper()
	began := time.Now()
	v, err := b.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err == nil {
		v.Close()
		t.Fatal("it was opened")
	}
	says(t, err, kind, append(words, "main")...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("that took %v", took)
	}
}

func TestR5_WrongStreamIsOneClearLine(t *testing.T) {
	t.Parallel()
	s := stream(t,
		"/h265", "videotestsrc ! video/x-raw,width=320,height=180,framerate=25/1 ! x265enc speed-preset=ultrafast ! rtph265pay name=pay0",
		"/mjpeg", "videotestsrc ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! jpegenc ! rtpjpegpay name=pay0",
		"/sound", "audiotestsrc ! mulawenc ! rtppcmupay name=pay0")
	openFails(t, board(t, s.url("/h265")), hal.ErrGarbage, "H265", "set the streamer's codec to H.264")
	openFails(t, board(t, s.url("/mjpeg")), hal.ErrGarbage, "M-JPEG")
	openFails(t, board(t, s.url("/sound")), hal.ErrGarbage, "no video at all")
	openFails(t, board(t, s.url("/nothing?key="+secret)), hal.ErrNotFound, `no stream at path "/nothing"`)
	openFails(t, board(t, s.url("/user=a_password="+secret)), hal.ErrNotFound, "[redacted]")
}

// Streamers that check passwords against the system's accounts (majestic) know
// only their sums, and ask for them by Basic.
func TestPasswordsByDigestAndBasic(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "slices=1")
	for _, args := range [][]string{nil, {"--basic"}} {
		s := stream(t, append(args, "--user", "viewer", "--password", secret, "/main", f.shown())...)
		au := read(t, open(t, board(t, s.url("/main"), with("viewer", secret))), 1)[0]
		f.same(t, 0, &au)
		openFails(t, board(t, s.url("/main")), fs.ErrPermission, "asks for a user and a password")
		openFails(t, board(t, s.url("/main"), with("viewer", secret+"!")), fs.ErrPermission, "refuses the configured user and password")
		openFails(t, board(t, s.url("/main"), with("viewer2", secret)), fs.ErrPermission, "refuses")
	}
}

func TestPicturesOutOfOrderAreRefused(t *testing.T) {
	t.Parallel()
	f := shoot(t, 4, "bframes=2:b-adapt=0")
	s := stream(t, "/main", f.shown())
	_, err := drain(t, open(t, board(t, s.url("/main"))))
	says(t, err, hal.ErrGarbage, "out of order", "B-frames off")
}

// fake is a streamer that a test writes: it answers each request with what
// answer returns; "" ends the connection, as "!" does at the end of an answer.
func fake(t *testing.T, answer func(method, url string) string) (addr string) {
	t.Helper()
	return accept(t, func(c net.Conn) { serve(c, answer) })
}

func serve(c net.Conn, answer func(method, url string) string) {
	defer c.Close()
	r := textproto.NewReader(bufio.NewReader(c))
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		head, err := r.ReadMIMEHeader()
		if err != nil {
			return
		}
		words := strings.Fields(line)
		text := answer(words[0], words[1])
		if text == "" {
			return
		}
		text, last := strings.CutSuffix(text, "!")
		first, rest, _ := strings.Cut(text, "\n")
		out := fmt.Sprintf("RTSP/1.0 %s\r\nCSeq: %s\r\n", first, head.Get("CSeq"))
		lines, body, _ := strings.Cut(rest, "\n\n")
		if body != "" {
			body = strings.ReplaceAll(body, "\n", "\r\n")
			lines += fmt.Sprintf("\nContent-Length: %d", len(body))
		}
		for _, l := range strings.Split(strings.TrimSpace(lines), "\n") {
			if l != "" {
				out += l + "\r\n"
			}
		}
		if _, err := io.WriteString(c, out+"\r\n"+body); err != nil || last {
			return
		}
	}
}

const described = `200 OK
Content-Type: application/sdp

v=0
o=- 0 0 IN IP4 127.0.0.1
s=x
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=control:track0
`

const ready = "200 OK\nSession: 1\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1"

// plainly answers as a streamer should, but for what other says.
func plainly(describe string, other func(method, url string) (string, bool)) func(method, url string) string {
	return func(method, url string) string {
		if text, ok := other(method, url); ok {
			return text
		}
		switch method {
		case "DESCRIBE":
			return describe
		case "SETUP":
			return ready
		}
		return "200 OK\nSession: 1"
	}
}

func TestServerThatSpeaksNoRTSP(t *testing.T) {
	t.Parallel()
	for _, says := range []string{"", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", strings.Repeat("$noise", 1000)} {
		addr := accept(t, func(c net.Conn) {
			defer c.Close()
			c.Read(make([]byte, 1<<10))
			io.WriteString(c, says)
		})
		openFails(t, board(t, "rtsp://"+addr+"/x"), hal.ErrGone, "is its RTSP server at "+addr+"?")
	}
}

func TestSilentStreamerIsGoneInTime(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	for _, at := range []string{"OPTIONS", "DESCRIBE", "SETUP", "PLAY"} {
		addr := fake(t, plainly(described, func(method, _ string) (string, bool) {
			if method == at {
				<-held
			}
			return "", false
		}))
		openFails(t, board(t, "rtsp://"+addr+"/x", patience(100*time.Millisecond)), hal.ErrGone, "did not answer for 100ms")
	}
}

func TestStreamerThatEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"OPTIONS", "DESCRIBE", "SETUP", "PLAY"} {
		addr := fake(t, plainly(described, func(method, _ string) (string, bool) { return "", method == at }))
		openFails(t, board(t, "rtsp://"+addr+"/x"), hal.ErrGone, "the connection was ended")
	}
}

// gortsplib panics over this in a goroutine of its own, if it is let.
func TestStreamerWithoutOptionsThatEndsTheConnection(t *testing.T) {
	t.Parallel()
	addr := fake(t, plainly(described, func(method, _ string) (string, bool) {
		if method == "OPTIONS" {
			return "404 Not Found", true
		}
		return ready + "!", method == "SETUP"
	}))
	for range 50 {
		openFails(t, board(t, "rtsp://"+addr+"/x"), hal.ErrGone)
	}
}

func TestStreamerWithoutOptionsPlays(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"404 Not Found", "405 Method Not Allowed", "501 Not Implemented"} {
		addr := fake(t, plainly(described, func(method, _ string) (string, bool) { return answer, method == "OPTIONS" }))
		open(t, board(t, "rtsp://"+addr+"/x")).Close()
	}
}

// A redirection would take the password elsewhere.
func TestRedirectionsAreNotFollowed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	other := fake(t, func(method, url string) string { asked <- method; return "" })
	addr := fake(t, plainly(described, func(method, _ string) (string, bool) {
		return "302 Found\nLocation: rtsp://" + other + "/y", method == "DESCRIBE"
	}))
	openFails(t, board(t, "rtsp://"+addr+"/x", with("u", secret)), hal.ErrNotFound, "redirects")
	if len(asked) > 0 {
		t.Errorf("the other one was asked for %s", <-asked)
	}
}

func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, answer string
		kind           error
		says           string
	}{
		{"DESCRIBE", "503 Service Unavailable", hal.ErrBusy, "too many viewers"},
		{"SETUP", "453 Not Enough Bandwidth", hal.ErrBusy, "453"},
		{"PLAY", "500 Internal Server Error", hal.ErrGone, "PLAY with 500"},
		{"DESCRIBE", "401 Unauthorized\nWWW-Authenticate: Negotiate", fs.ErrPermission, "neither Basic nor Digest"},
		{"DESCRIBE", "200 OK\nContent-Type: application/sdp\n\nnonsense", hal.ErrGarbage, "description can't be read"},
		{"DESCRIBE", "200 OK\nContent-Type: text/html\n\nnonsense", hal.ErrGone, "text/html"},
		{"SETUP", "461 Unsupported Transport", hal.ErrUnable, "UDP alone"},
		{"SETUP", "200 OK\nSession: 1\nTransport: RTP/AVP;unicast;client_port=1-2", hal.ErrGone, "ports"},
		{"DESCRIBE", strings.Replace(described, "H264/90000", "X-"+secret[:3]+"/1", 1), hal.ErrGarbage, "X-gRa"},
		{"DESCRIBE", strings.Replace(described, "H264/90000", "H264/90000\na=fmtp:96 packetization-mode=2", 1), hal.ErrGarbage, "mode 2"},
	} {
		addr := fake(t, plainly(described, func(method, _ string) (string, bool) { return c.answer, method == c.method }))
		openFails(t, board(t, "rtsp://"+addr+"/x", with("u", secret)), c.kind, c.says)
	}
}

// divinus answers every SETUP with UDP, whatever it was asked for.
func TestStreamerThatAnswersWithUDP(t *testing.T) {
	t.Parallel()
	addr := fake(t, plainly(described, func(method, _ string) (string, bool) {
		return "200 OK\nSession: 1\nTransport: RTP/AVP/UDP;unicast;client_port=0-0;server_port=30000-30001", method == "SETUP"
	}))
	v := open(t, board(t, "rtsp://"+addr+"/x", patience(300*time.Millisecond)))
	_, err := v.Next(limit(t))
	says(t, err, hal.ErrGone, "sent nothing for 300ms")
}

// One track that can't be read is no reason to refuse another.
func TestOtherTracksMayBeAnything(t *testing.T) {
	t.Parallel()
	odd := described + "m=audio 0 RTP/AVP 97\na=rtpmap:97 opus/8000/7\na=control:track1\nm=application 0 x y\n"
	addr := fake(t, plainly(odd, func(string, string) (string, bool) { return "", false }))
	open(t, board(t, "rtsp://"+addr+"/x")).Close()
}

func TestR5_WrongConfigurationIsOneClearLineEach(t *testing.T) {
	t.Parallel()
	good := Source{Stream: "main", URL: "rtsp://127.0.0.1/ch0"}
	for _, c := range []struct {
		config Config
		says   string
	}{
		{Config{}, `no source for stream "main"`},
		{Config{Sources: []Source{good, good}}, "two sources"},
		{Config{Sources: []Source{{Stream: "third", URL: good.URL}}}, `want "main" or "sub"`},
		{Config{Sources: []Source{{Stream: "main"}}}, "no url, want rtsp://host[:port]/path"},
		{Config{Sources: []Source{{Stream: "main", URL: "rtsp://u:" + secret + "@127.0.0.1/"}}}, "url holds a user or a password"},
		{Config{Sources: []Source{{Stream: "main", URL: "rtsp://u:" + secret + "@127.0.0.1:x/"}}}, "url can't be read"},
		{Config{Sources: []Source{{Stream: "main", URL: "http://127.0.0.1/"}}}, `scheme "http", want rtsp`},
		{Config{Sources: []Source{{Stream: "main", URL: "rtsps://127.0.0.1/"}}}, `scheme "rtsps", want rtsp`},
		{Config{Sources: []Source{{Stream: "main", URL: "rtsp:///ch0"}}}, "no host"},
		{Config{Sources: []Source{{Stream: "main", URL: "rtsp://127.0.0.1:99999/"}}}, "port"},
		{Config{Sources: []Source{{Stream: "main", URL: good.URL, Password: secret}}}, "a password without a user"},
		{Config{Sources: []Source{{Stream: "main", URL: good.URL, User: `a"b`}}}, "a quote"},
		{Config{Sources: []Source{{Stream: "main", URL: good.URL, User: "a", Password: secret + "\r\n"}}}, "control character"},
		{Config{Sources: []Source{good}, Sound: "sub"}, `sound is of stream "sub"`},
		{Config{Sources: []Source{good}, Snapshot: "ftp://127.0.0.1/"}, "snapshot: url has scheme"},
		{Config{Sources: []Source{good}, Snapshot: "http://u:" + secret + "@127.0.0.1/"}, "snapshot: url holds"},
		{Config{Sources: []Source{good}, Timeout: -1}, "timeout is -1ns"},
		{Config{Sources: []Source{good}, Timeout: time.Hour}, "want 0s (4s) to 1m0s"},
	} {
		_, err := New(c.config)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.says)
		}
	}
	_, err := New(Config{Sources: []Source{{Stream: "sub", URL: "x"}}, Timeout: -1})
	if n := strings.Count(fmt.Sprint(err), "\n"); n != 2 {
		t.Errorf("three errors are told as %q", err)
	}
}

func TestEndedContextOpensNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := board(t, "rtsp://127.0.0.1:1/x").OpenVideo(ctx, "main", hal.VideoConfig{}); err == nil || ctx.Err() == nil {
		t.Error("it was opened")
	} else {
		says(t, err, context.Canceled, "127.0.0.1:1")
	}
}
