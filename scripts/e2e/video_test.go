package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"iid2secure.nl/camagent/hal/sim"
)

// The simulated main stream.
const (
	simWidth  = 1280
	simHeight = 720
)

// seen is what a decoded picture of the simulated camera says.
type seen struct {
	frame uint32
	lamp  bool
}

// decode runs ffmpeg on an input and reads strip and lamp of every picture. A
// picture whose strip can't be read, or any complaint of ffmpeg, is an error.
func decode(ctx context.Context, r io.Reader, input ...string) ([]seen, error) {
	args := append([]string{"-v", "warning", "-nostdin"}, input...)
	args = append(args, "-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
	c := exec.CommandContext(ctx, "ffmpeg", args...)
	c.Stdin = r
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) } // ffmpeg ends its output properly
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	list, err := readPictures(out)
	io.Copy(io.Discard, out)
	c.Wait() // its code after SIGINT says nothing; what it printed does
	if msg := strings.TrimSpace(complaints.String()); msg != "" && !strings.Contains(msg, "Exiting normally") {
		err = errors.Join(err, errors.New("ffmpeg: "+msg))
	}
	return list, err
}

func readPictures(r io.Reader) (list []seen, err error) {
	br := bufio.NewReaderSize(r, simWidth*simHeight)
	y := make([]byte, simWidth*simHeight)
	for {
		if _, err := io.ReadFull(br, y); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return list, nil
			}
			return list, err
		}
		n, ok := sim.ReadStrip(y, simWidth, simWidth, simHeight)
		lamp, lok := sim.ReadLamp(y, simWidth, simWidth, simHeight)
		if !ok || !lok {
			return list, errors.New("picture " + strconv.Itoa(len(list)) + " can't be read")
		}
		list = append(list, seen{n, lamp})
	}
}

// contiguous fails the test unless every frame from first to last is there once, in
// order, but for no more than the device itself has lost.
func contiguous(t *testing.T, what string, list []seen, lost int) {
	t.Helper()
	if len(list) == 0 {
		t.Fatalf("%s: no picture", what)
	}
	missing := 0
	for i, s := range list[1:] {
		want := list[i].frame + 1
		if missing += int(s.frame) - int(want); s.frame < want || missing > lost {
			t.Fatalf("%s: after frame %d comes %d; %d are missing so far, and the device has lost %d", what, want-1, s.frame, missing, lost)
		}
	}
	t.Logf("%s: frames %d to %d, each once; %d missing, %d lost by the device", what, list[0].frame, list[len(list)-1].frame, missing, lost)
}

// pts are the presentation times of a file's pictures, in seconds.
func pts(t *testing.T, file string) []float64 {
	t.Helper()
	out := output(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", file)
	var list []float64
	for _, l := range strings.Fields(out) {
		v, err := strconv.ParseFloat(strings.Trim(l, ","), 64)
		if err != nil {
			t.Fatalf("ffprobe: %q", l)
		}
		list = append(list, v)
	}
	return list
}

// beeps are the times in seconds at which the 1 kHz beeps of a file begin.
func beeps(t *testing.T, file string) []float64 {
	t.Helper()
	c := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-i", file, "-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ar", "8000", "-ac", "1", "-f", "s16le", "-")
	raw, err := c.Output()
	if err != nil {
		t.Fatalf("sound of %s: %v", file, err)
	}
	const window = 40 // 5 ms: five periods of the beep
	var list []float64
	loud := true // a beep that has begun before the file is not one's beginning
	for i := 0; i+2*window <= len(raw); i += 2 * window {
		sum := 0.0
		for k := 0; k < window; k++ {
			v := float64(int16(binary.LittleEndian.Uint16(raw[i+2*k:])))
			sum += v * v
		}
		now := sum/window > 2000*2000
		if now && !loud {
			list = append(list, float64(i/2)/8000)
		}
		loud = now
	}
	return list
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	var msg bytes.Buffer
	c.Stderr = &msg
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, msg.String())
	}
	return string(out)
}
