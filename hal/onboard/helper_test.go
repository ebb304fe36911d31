package onboard

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "onboard")
	if err != nil {
		panic(err)
	}
	workshop = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// workshop holds what several tests use.
var workshop string

// run runs a program of Debian's, or fails naming its package.
func run(pkg, name string, args ...string) ([]byte, error) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, fmt.Errorf("%s is missing: apt install %s", name, pkg)
	}
	out, err := exec.Command(name, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %.500s", name, err, exit.Stderr)
	}
	return out, err
}

// program compiles GStreamer's server.
var program = sync.OnceValues(func() (string, error) {
	flags, err := run("pkg-config", "pkg-config", "--cflags", "--libs", "gstreamer-rtsp-server-1.0")
	if err != nil {
		return "", fmt.Errorf("apt install libgstrtspserver-1.0-dev gstreamer1.0-plugins-good gstreamer1.0-plugins-bad: %w", err)
	}
	out := filepath.Join(workshop, "gstserver")
	args := append([]string{"-Wall", "-Werror", "../../scripts/gstserver/gstserver.c", "-o", out}, strings.Fields(string(flags))...)
	_, err = run("gcc libc6-dev", "cc", args...)
	return out, err
})

// streamer is a running one.
type streamer struct {
	t    testing.TB
	args []string
	addr string
	cmd  *exec.Cmd
	in   io.Closer
}

// stream starts a streamer; args are the program's.
func stream(t testing.TB, args ...string) *streamer {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &streamer{t: t, args: append([]string{path}, args...)}
	if err := s.start("0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

func (s *streamer) start(port string) error {
	s.cmd = exec.Command(s.args[0], append([]string{"--port", port}, s.args[1:]...)...)
	s.cmd.Env = append(os.Environ(), "GST_DEBUG_NO_COLOR=1", "GST_REGISTRY="+filepath.Join(workshop, "registry"))
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.in = in
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.kill()
		return fmt.Errorf("the streamer did not start: %w", err)
	}
	s.addr = "127.0.0.1:" + strings.TrimSpace(line)
	return nil
}

// kill ends it at once, as a crash does.
func (s *streamer) kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	s.cmd.Process.Signal(syscall.SIGCONT)
	s.cmd.Wait()
	s.in.Close()
	s.cmd = nil
}

// again starts it at the same port.
func (s *streamer) again() error {
	_, port, _ := strings.Cut(s.addr, ":")
	return s.start(port)
}

// hang stops it, as a deadlock does: its connections stay.
func (s *streamer) hang() { s.cmd.Process.Signal(syscall.SIGSTOP) }

func (s *streamer) url(path string) string { return "rtsp://" + s.addr + path }

// film is what a streamer shows.
type film struct {
	path  string
	units [][][]byte // of each picture its NAL units, without parameter sets
	sps   []byte
	pps   []byte
}

const (
	gop      = 20
	pictures = 100
)

// films are made once each, by x264 as High profile, with a key frame every 20.
type films struct {
	mu   sync.Mutex
	made map[string]*film
}

var cinema = films{made: map[string]*film{}}

// shoot makes a film: seconds, more options of x264, and of ffmpeg for the sound.
func shoot(t testing.TB, seconds int, x264 string, sound ...string) *film {
	t.Helper()
	cinema.mu.Lock()
	defer cinema.mu.Unlock()
	key := fmt.Sprint(seconds, x264, sound)
	if f := cinema.made[key]; f != nil {
		return f
	}
	f := &film{path: filepath.Join(workshop, fmt.Sprintf("film%d.mkv", len(cinema.made)))}
	length := fmt.Sprint(seconds)
	args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=" + length,
		"-f", "lavfi", "-i", "sine=frequency=440:r=48000:d=" + length,
		"-map", "0:v", "-vf", "noise=alls=8:allf=t,format=yuv420p", "-c:v", "libx264", "-profile:v", "high", "-preset", "ultrafast",
		"-g", fmt.Sprint(gop), "-keyint_min", fmt.Sprint(gop), "-sc_threshold", "0", "-bf", "0", "-b:v", "400k",
		"-x264-params", "cabac=1:8x8dct=1:" + x264}
	if len(sound) > 0 {
		args = append(append(args, "-map", "1:a"), sound...)
	}
	if _, err := run("ffmpeg", "ffmpeg", append(args, f.path)...); err != nil {
		t.Fatal(err)
	}
	raw, err := run("ffmpeg", "ffmpeg", "-v", "error", "-i", f.path, "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-")
	if err != nil {
		t.Fatal(err)
	}
	f.read(raw)
	if len(f.units) != seconds*25 || f.sps == nil || f.pps == nil {
		t.Fatalf("the film has %d pictures, want %d", len(f.units), seconds*25)
	}
	cinema.made[key] = f
	return f
}

// read takes a stream apart in its own way: a picture begins with each slice
// whose first macroblock is 0, and what stands before belongs to it.
func (f *film) read(raw []byte) {
	var before [][]byte
	for n := range hal.SplitAnnexB(raw) {
		switch n[0] & 31 {
		case 9:
		case 7:
			f.sps = n
		case 8:
			f.pps = n
		case 1, 5:
			if n[1]&0x80 != 0 {
				f.units = append(f.units, before)
				before = nil
			}
			last := len(f.units) - 1
			f.units[last] = append(f.units[last], n)
		default:
			before = append(before, n)
		}
	}
}

// shown is a pipeline of the film's video.
func (f *film) shown() string {
	return fmt.Sprintf("filesrc location=%s ! matroskademux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96", f.path)
}

// heard adds its sound, by a payloader.
func (f *film) heard(payloader string) string {
	return f.shown() + " d.audio_0 ! queue ! " + payloader + " name=pay1"
}

// limit ends a test that hangs.
func limit(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// board makes a board of one main stream.
func board(t testing.TB, url string, change ...func(*Config)) *Board {
	t.Helper()
	c := Config{Sources: []Source{{Stream: "main", URL: url}}}
	for _, f := range change {
		f(&c)
	}
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func with(user, password string) func(*Config) {
	return func(c *Config) { c.Sources[0].User, c.Sources[0].Password = user, password }
}

func patience(d time.Duration) func(*Config) { return func(c *Config) { c.Timeout = d } }

// open opens main.
func open(t testing.TB, b *Board) hal.VideoStream {
	t.Helper()
	s, err := b.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read reads n pictures.
func read(t testing.TB, s hal.VideoStream, n int) (list []hal.AccessUnit) {
	t.Helper()
	ctx := limit(t)
	for len(list) < n {
		au, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d pictures: %v", len(list), err)
		}
		list = append(list, au)
	}
	return list
}

// same compares a picture with the film's.
func (f *film) same(t testing.TB, i int, au *hal.AccessUnit) {
	t.Helper()
	var got [][]byte
	for n := range hal.SplitAVC(au.Data[au.Params:]) {
		got = append(got, n)
	}
	want := f.units[i]
	if len(got) != len(want) {
		t.Fatalf("picture %d has %d NAL units, want %d", i, len(got), len(want))
	}
	for k := range got {
		if !bytes.Equal(got[k], want[k]) {
			t.Fatalf("picture %d: NAL unit %d (type %d, %d bytes) differs from the film's (type %d, %d bytes)",
				i, k, got[k][0]&31, len(got[k]), want[k][0]&31, len(want[k]))
		}
	}
	sps, pps := au.ParameterSets()
	if au.Key != (i%gop == 0) || au.Key && (!bytes.Equal(sps, f.sps) || !bytes.Equal(pps, f.pps)) {
		t.Fatalf("picture %d: key %v, SPS %x, PPS %x, want SPS %x, PPS %x", i, au.Key, sps, pps, f.sps, f.pps)
	}
}

// accept handles each connection to a port of its own in a goroutine, until the
// test ends.
func accept(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return l.Addr().String()
}

// says checks what an error tells, and that it does not tell the password.
func says(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	errtest.Says(t, err, kind, words...)
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%q tells the password", err)
	}
}

const secret = "gRaPeShOt"
