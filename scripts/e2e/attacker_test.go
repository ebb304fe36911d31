package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// counter is a viewer, another program, that looks at each picture of an endless
// film and counts those that do not come.
type counter struct {
	cmd    *exec.Cmd
	done   chan struct{}
	said   bytes.Buffer
	film   []string // hash of each picture
	frames atomic.Int64
	missed atomic.Int64
}

// countPictures watches a stream that plays film with ffmpeg, which copies what it
// gets and decodes nothing.
func countPictures(t *testing.T, film, address string) *counter {
	t.Helper()
	c := &counter{done: make(chan struct{}), film: pictures(t, film)}
	c.cmd = exec.Command("ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", address, "-map", "0:v", "-c", "copy",
		"-bsf:v", "h264_mp4toannexb,filter_units=remove_types=6-9", "-f", "framehash", "-hash", "md5", "-flush_packets", "1", "-")
	c.cmd.Stderr = &c.said
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.count(out)
	t.Cleanup(func() {
		c.cmd.Process.Signal(syscall.SIGINT)
		<-c.done
		c.cmd.Wait() //nolint:errcheck // it was interrupted
		if c.said.Len() > 0 {
			t.Errorf("the viewer: %s", c.said.String())
		}
	})
	return c
}

func (c *counter) count(r io.Reader) {
	defer close(c.done)
	number := make(map[string]int, len(c.film))
	for i, h := range c.film {
		number[h] = i
	}
	next := -1
	for lines := bufio.NewScanner(r); lines.Scan(); {
		// stream, dts, pts, duration, size, hash, and more that is not of the picture.
		fields := strings.Split(lines.Text(), ",")
		if len(fields) < 6 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		n, known := number[strings.TrimSpace(fields[5])]
		switch {
		case !known:
			c.missed.Add(1)
		case next >= 0:
			c.missed.Add(int64((n - next + len(c.film)) % len(c.film)))
		}
		next = (n + 1) % len(c.film)
		c.frames.Add(1)
	}
}

// rtspClient speaks RTSP word by word, from an address of its choice.
type rtspClient struct {
	net.Conn
	br      *bufio.Reader
	url     string // of the stream
	sender  *auth.Sender
	session string
	cseq    int
}

const attackPatience = 10 * time.Second

// dialFrom connects from an address of 127.0.0.0/8; small asks for a receive
// buffer that is soon full.
func dialFrom(ip, address string, small bool) (net.Conn, error) {
	d := net.Dialer{Timeout: attackPatience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	if small {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }) //nolint:errcheck // an advice
		}
	}
	c, err := d.Dial("tcp", address)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(attackPatience))
	}
	return c, err
}

func newRTSPClient(c net.Conn, stream *url.URL) *rtspClient {
	u := *stream
	u.User = nil
	return &rtspClient{Conn: c, br: bufio.NewReader(c), url: u.String()}
}

// do makes a request and reads the answer; media before it are thrown away.
func (c *rtspClient) do(method base.Method, suffix string, h base.Header) (*base.Response, error) {
	u, err := base.ParseURL(c.url + suffix)
	if err != nil {
		return nil, err
	}
	c.cseq++
	req := base.Request{Method: method, URL: u, Header: base.Header{"CSeq": base.HeaderValue{strconv.Itoa(c.cseq)}}}
	for k, v := range h {
		req.Header[k] = v
	}
	if c.session != "" {
		req.Header["Session"] = base.HeaderValue{c.session}
	}
	if c.sender != nil {
		c.sender.AddAuthorization(&req)
	}
	b, err := req.Marshal()
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	for {
		first, err := c.br.Peek(1)
		if err != nil {
			return nil, err
		}
		if first[0] == '$' {
			var f base.InterleavedFrame
			if err := f.Unmarshal(c.br); err != nil {
				return nil, err
			}
			continue
		}
		var res base.Response
		err = res.Unmarshal(c.br)
		if s := res.Header["Session"]; len(s) == 1 {
			c.session, _, _ = strings.Cut(s[0], ";")
		}
		return &res, err
	}
}

// want is do with the one answer that is expected.
func (c *rtspClient) want(code base.StatusCode, method base.Method, suffix string, h base.Header) (*base.Response, error) {
	res, err := c.do(method, suffix, h)
	if err == nil && res.StatusCode != code {
		err = fmt.Errorf("%s: %d %s", method, res.StatusCode, res.StatusMessage)
	}
	return res, err
}

// play goes all the way, video alone over TCP.
func (c *rtspClient) play(u *url.Userinfo) error {
	res, err := c.want(base.StatusUnauthorized, base.Describe, "", nil)
	if err != nil {
		return err
	}
	password, _ := u.Password()
	if c.sender, err = auth.NewSender(res.Header["WWW-Authenticate"], u.Username(), password); err != nil {
		return err
	}
	if _, err := c.want(base.StatusOK, base.Describe, "", nil); err != nil {
		return err
	}
	over := base.Header{"Transport": base.HeaderValue{"RTP/AVP/TCP;unicast;interleaved=0-1"}}
	if _, err := c.want(base.StatusOK, base.Setup, "/trackID=0", over); err != nil {
		return err
	}
	_, err = c.want(base.StatusOK, base.Play, "", nil)
	return err
}

// picture reads media to the end of an access unit.
func (c *rtspClient) picture() error {
	for {
		var f base.InterleavedFrame
		if err := f.Unmarshal(c.br); err != nil {
			return err
		}
		if f.Channel == 0 && len(f.Payload) > 1 && f.Payload[1]&0x80 != 0 {
			return nil
		}
	}
}

// process is what the kernel tells of a program.
type process struct {
	rss, peak    int64 // bytes
	threads, fds int
	cpu          time.Duration
}

func lookAt(pid int) (p process, err error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	b, err := os.ReadFile(dir + "status")
	if err != nil {
		return p, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		key, value, _ := strings.Cut(l, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch key {
		case "VmRSS":
			p.rss = n << 10
		case "VmHWM":
			p.peak = n << 10
		case "Threads":
			p.threads = int(n)
		}
	}
	open, err := os.ReadDir(dir + "fd")
	if err != nil {
		return p, err
	}
	p.fds = len(open)
	if b, err = os.ReadFile(dir + "stat"); err != nil {
		return p, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	p.cpu = time.Duration(user+system) * 10 * time.Millisecond
	return p, nil
}

// refused tells that the other side ended a connection without an answer.
func refused(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// each runs do for 0 to n-1, some at a time.
func each(ctx context.Context, n, workers int, do func(i int) error) error {
	var next atomic.Int64
	failed := make(chan error, workers)
	for range workers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					failed <- ctx.Err()
					return
				}
				if err := do(i); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	var all []error
	for range workers {
		all = append(all, <-failed)
	}
	return errors.Join(all...)
}
