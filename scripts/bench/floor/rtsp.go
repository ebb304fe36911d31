package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

func (s *server) accept(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go s.serve(c)
	}
}

const writeTimeout = 10 * time.Second

// send writes each frame at once.
func (v *viewer) send() {
	for f := range v.frames {
		v.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := v.conn.Write(f); err != nil {
			v.conn.Close() // serve notices
			return
		}
	}
}

// serve answers requests until the connection ends.
func (s *server) serve(c net.Conn) {
	var v *viewer
	defer func() {
		c.Close()
		if v != nil {
			s.remove(v)
		}
	}()
	r := bufio.NewReaderSize(c, 2048)
	for {
		method, url, cseq, err := request(r)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, s.response(method, url, cseq)); err != nil {
			return
		}
		switch {
		case method == "TEARDOWN":
			return
		case method == "PLAY" && v == nil:
			v = s.add(c)
		}
	}
}

// request reads the next one; packets of the viewer are thrown away.
func request(r *bufio.Reader) (method, url, cseq string, err error) {
	for {
		first, err := r.Peek(1)
		if err != nil {
			return "", "", "", err
		}
		if first[0] != '$' {
			break
		}
		h, err := r.Peek(4)
		if err != nil {
			return "", "", "", err
		}
		if _, err := r.Discard(4 + int(h[2])<<8 + int(h[3])); err != nil {
			return "", "", "", err
		}
	}
	line, err := r.ReadString('\n')
	method, rest, _ := strings.Cut(line, " ")
	url, _, _ = strings.Cut(rest, " ")
	for err == nil {
		line, err = r.ReadString('\n')
		if line = strings.TrimSpace(line); line == "" {
			break
		}
		if k, value, _ := strings.Cut(line, ":"); strings.EqualFold(k, "CSeq") {
			cseq = strings.TrimSpace(value)
		}
	}
	return method, url, cseq, err
}

func (s *server) response(method, url, cseq string) string {
	head := "RTSP/1.0 200 OK\r\nCSeq: " + cseq + "\r\n"
	switch method {
	case "OPTIONS":
		return head + "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n"
	case "DESCRIBE":
		return fmt.Sprintf("%sContent-Base: %s/\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", head, url, len(s.sdp), s.sdp)
	case "SETUP":
		return head + "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n\r\n"
	}
	return head + "Session: 1\r\n\r\n"
}

// describe makes the SDP of the parameter sets in a key frame.
func describe(f frame) string {
	var sets []string
	for _, n := range f.nals {
		if typ := n[0] & 31; typ == nalSPS || typ == nalPPS {
			sets = append(sets, base64.StdEncoding.EncodeToString(n))
		}
	}
	return "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=control:video\r\n" +
		"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=" + strings.Join(sets, ",") + "\r\n"
}
