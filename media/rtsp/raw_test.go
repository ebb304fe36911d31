package rtsp

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/auth"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"
)

// rawClient speaks RTSP word by word, so that a test decides what it sends and
// when it reads.
type rawClient struct {
	t        testing.TB
	conn     *net.TCPConn
	out      io.Writer // conn, or TLS over it
	br       *bufio.Reader
	address  string
	user     string
	password string
	sender   *auth.Sender
	session  string
	cseq     int
}

func (r *rig) raw() *rawClient {
	r.t.Helper()
	conn := r.dial(r.Addr())
	return &rawClient{t: r.t, conn: conn, out: conn, br: bufio.NewReader(conn), address: r.plainURL("main"), user: user, password: password}
}

// rawTLS is the same over RTSPS.
func (r *rig) rawTLS() *rawClient {
	r.t.Helper()
	conn := r.dial(r.TLSAddr())
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	address := fmt.Sprintf("rtsps://%s/main", r.TLSAddr())
	return &rawClient{t: r.t, conn: conn, out: c, br: bufio.NewReader(c), address: address, user: user, password: password}
}

func (r *rig) dial(to net.Addr) *net.TCPConn {
	r.t.Helper()
	conn, err := net.DialTCP("tcp", nil, to.(*net.TCPAddr))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(2*patience)))
	return conn
}

func (c *rawClient) write(method base.Method, suffix string, h base.Header) {
	c.t.Helper()
	u, err := base.ParseURL(c.address + suffix)
	require.NoError(c.t, err)
	if h = maps.Clone(h); h == nil { // or what is added here would go into the caller's next request as well
		h = base.Header{}
	}
	c.cseq++
	h["CSeq"] = base.HeaderValue{fmt.Sprint(c.cseq)}
	if c.session != "" {
		h["Session"] = base.HeaderValue{c.session}
	}
	req := base.Request{Method: method, URL: u, Header: h}
	if c.sender != nil {
		c.sender.AddAuthorization(&req)
	}
	b, err := req.Marshal()
	require.NoError(c.t, err)
	_, err = c.out.Write(b)
	require.NoError(c.t, err)
}

// read returns the next response or interleaved frame; nothing else may come.
func (c *rawClient) read() (*base.Response, *base.InterleavedFrame, error) {
	first, err := c.br.Peek(1)
	if err != nil {
		return nil, nil, err
	}
	switch first[0] {
	case '$':
		var f base.InterleavedFrame
		return nil, &f, f.Unmarshal(c.br)
	case 'R':
		var res base.Response
		return &res, nil, res.Unmarshal(c.br)
	}
	return nil, nil, fmt.Errorf("byte %#x stands where a response or a frame should begin", first[0])
}

// do makes a request and returns the answer; media before it are thrown away.
func (c *rawClient) do(method base.Method, suffix string, h base.Header) *base.Response {
	c.t.Helper()
	c.write(method, suffix, h)
	for {
		res, _, err := c.read()
		require.NoError(c.t, err)
		if res != nil {
			if s := res.Header["Session"]; len(s) == 1 {
				c.session, _, _ = strings.Cut(s[0], ";")
			}
			return res
		}
	}
}

// login answers the challenge of the server.
func (c *rawClient) login() *base.Response {
	c.t.Helper()
	res := c.do(base.Describe, "", nil)
	require.Equal(c.t, base.StatusUnauthorized, res.StatusCode)
	c.answer(res)
	return c.do(base.Describe, "", nil)
}

func (c *rawClient) answer(challenge *base.Response) {
	c.t.Helper()
	var err error
	c.sender, err = auth.NewSender(challenge.Header["WWW-Authenticate"], c.user, c.password)
	require.NoError(c.t, err)
}

func interleaved(channels string) base.Header {
	return base.Header{"Transport": base.HeaderValue{"RTP/AVP/TCP;unicast;interleaved=" + channels}}
}

// play goes all the way, video alone.
func (c *rawClient) play() {
	c.t.Helper()
	require.Equal(c.t, base.StatusOK, c.login().StatusCode)
	require.Equal(c.t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
	require.Equal(c.t, base.StatusOK, c.do(base.Play, "", nil).StatusCode)
}

// pictureReader puts access units back together.
type pictureReader struct {
	c       *rawClient
	dec     *rtph264.Decoder
	reports []*rtcp.SenderReport
	seq     uint16
	seen    bool
}

func (c *rawClient) pictures() *pictureReader {
	c.t.Helper()
	d := &rtph264.Decoder{PacketizationMode: 1}
	require.NoError(c.t, d.Init())
	return &pictureReader{c: c, dec: d}
}

// next returns the picture bytes of the next access unit. Sequence numbers must
// not have a gap.
func (p *pictureReader) next() ([]byte, error) {
	for {
		_, f, err := p.c.read()
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if f.Channel&1 == 1 {
			p.control(f.Payload)
			continue
		}
		b, err := p.add(f.Payload)
		if !errors.Is(err, rtph264.ErrMorePacketsNeeded) {
			return b, err
		}
	}
}

// add takes the next packet, and returns the picture that it completes.
func (p *pictureReader) add(packet []byte) ([]byte, error) {
	var pkt rtp.Packet
	require.NoError(p.c.t, pkt.Unmarshal(packet))
	require.True(p.c.t, !p.seen || pkt.SequenceNumber == p.seq, "sequence number %d, want %d", pkt.SequenceNumber, p.seq)
	p.seen, p.seq = true, pkt.SequenceNumber+1
	nals, err := p.dec.Decode(&pkt)
	if err != nil {
		return nil, err
	}
	var avc []byte
	for _, n := range nals {
		avc = append(binary.BigEndian.AppendUint32(avc, uint32(len(n))), n...)
	}
	return pictureBytes(avc), nil
}

func (p *pictureReader) control(b []byte) {
	list, err := rtcp.Unmarshal(b)
	require.NoError(p.c.t, err)
	for _, r := range list {
		if sr, ok := r.(*rtcp.SenderReport); ok {
			p.reports = append(p.reports, sr)
		}
	}
}

// closed tells that the server has ended the connection.
func (c *rawClient) closed() bool {
	_, err := io.Copy(io.Discard, c.br)
	var timeout net.Error
	return !(errors.As(err, &timeout) && timeout.Timeout())
}
