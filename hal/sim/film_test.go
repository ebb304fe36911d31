package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shot is one frame, and what the encoder holds as its reconstruction.
type shot struct {
	hal.AccessUnit
	recon uint64
}

// bubble runs f with a board in simulated time.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, b *Board)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := New(cfg)
		defer b.Close()
		f(t, b)
	})
}

func open(t *testing.T, b *Board, stream string, want hal.VideoConfig) *video {
	t.Helper()
	s, err := b.OpenVideo(t.Context(), stream, want)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*video)
}

// take reads n frames; before, if not nil, is called in front of each.
func take(t *testing.T, v *video, n int, before func(i int)) []shot {
	t.Helper()
	shots := make([]shot, 0, n)
	for i := range n {
		if before != nil {
			before(i)
		}
		au, err := v.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := v.encoder.Recon()
		sum := newSum()
		for y := range r.H {
			sum.add(r.Y[y*r.Stride():][:r.W])
		}
		for _, c := range [][]byte{r.Cb, r.Cr} {
			for y := range r.H / 2 {
				sum.add(c[y*r.Stride()/2:][:r.W/2])
			}
		}
		shots = append(shots, shot{au, sum.v})
	}
	return shots
}

func bitsOf(shots []shot) (n int) {
	for _, s := range shots {
		n += len(s.Data) * 8
	}
	return n
}

// sum is FNV-1a over words of 8 bytes.
type sum struct{ v uint64 }

func newSum() *sum { return &sum{14695981039346656037} }

//go:norace
func (s *sum) add(b []byte) {
	for ; len(b) >= 8; b = b[8:] {
		s.v = (s.v ^ binary.LittleEndian.Uint64(b)) * 1099511628211
		s.v ^= s.v >> 29
	}
	for _, c := range b {
		s.v = (s.v ^ uint64(c)) * 1099511628211
	}
}

// decode plays the frames with ffmpeg, which must have nothing to say, and
// hands each picture (I420) to f.
func decode(t *testing.T, shots []shot, w, h int, f func(i int, pic []byte)) {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Fatal("ffmpeg is missing: install the Debian package ffmpeg")
	}
	var in, said bytes.Buffer
	for _, s := range shots {
		for n := range s.NALs() {
			in.Write([]byte{0, 0, 0, 1})
			in.Write(n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-threads", "1", "-v", "warning", "-err_detect", "explode",
		"-probesize", "100M", "-f", "h264", "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
	c.Stdin, c.Stderr = &in, &said
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pic := make([]byte, w*h*3/2)
	count := 0
	for ; ; count++ {
		if _, err := io.ReadFull(out, pic); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("picture %d: %v: %s", count, err, said.String())
		}
		f(count, pic)
	}
	if err := c.Wait(); err != nil || said.Len() > 0 {
		t.Fatalf("ffmpeg: %v: %s", err, said.String())
	}
	if count != len(shots) {
		t.Fatalf("%d pictures from %d frames", count, len(shots))
	}
}
