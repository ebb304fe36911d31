package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// The messages of docs/sidecar.md, and the NAL units of H.264, that are used.
const (
	msgVideo   = 2
	msgCommand = 65

	nalIDR = 5
	nalSPS = 7
	nalPPS = 8
	nalAUD = 9
)

// frame is one access unit.
type frame struct {
	nals     [][]byte
	captured uint64 // CLOCK_MONOTONIC, ns
}

func (f frame) key() bool {
	for _, n := range f.nals {
		if n[0]&31 == nalIDR {
			return true
		}
	}
	return false
}

// source is a sidecar's standard output, which the runtime's poller waits for.
type source struct {
	r  *bufio.Reader
	in io.Closer // its standard input: closed, it ends
}

// startCamera runs the sidecar and has it start its stream. It ends with us.
func startCamera(argv []string) (*source, error) {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	const start = "start main 0 0 0 0 0"
	m := binary.LittleEndian.AppendUint32(nil, uint32(len(start)))
	m = append(m, msgCommand, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	_, err = in.Write(append(m, start...))
	return &source{bufio.NewReaderSize(out, 64<<10), in}, err
}

// next reads the next frame, in memory of its own.
func (s *source) next() (frame, error) {
	var h [16]byte
	for {
		if _, err := io.ReadFull(s.r, h[:]); err != nil {
			return frame{}, err
		}
		n := int(binary.LittleEndian.Uint32(h[:]))
		if h[4] != msgVideo {
			if _, err := s.r.Discard(n); err != nil {
				return frame{}, err
			}
			continue
		}
		b := make([]byte, n)
		_, err := io.ReadFull(s.r, b)
		return frame{split(b), binary.LittleEndian.Uint64(h[8:])}, err
	}
}

var startCode = []byte{0, 0, 1}

// split cuts Annex B at its start codes; delimiters are left out.
func split(b []byte) (nals [][]byte) {
	_, b, _ = bytes.Cut(b, startCode)
	for len(b) > 0 {
		nal, rest, more := bytes.Cut(b, startCode)
		if more {
			nal = bytes.TrimRight(nal, "\x00")
		}
		if len(nal) > 0 && nal[0]&31 != nalAUD {
			nals = append(nals, nal)
		}
		b = rest
	}
	return nals
}
