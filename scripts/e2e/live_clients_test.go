package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"iid2secure.nl/camagent/agent/command"
)

// client is one way to watch: record fills a folder with so much as the stream
// gives in a span of its own time, read tells what is in it.
type client struct {
	name   string
	stream string
	tls    bool
	joins  bool // what others are watching, somewhere between key frames
	record func(ctx context.Context, from source, dir string, span time.Duration) error
	read   func(ctx context.Context, dir string, s size) (recording, error)
	// settles is how long it takes this client to bring sound and picture together.
	settles time.Duration
}

// source is where a client finds its stream, and who it is there.
type source struct {
	in    space
	url   string
	roots string // PEM file by which to know the camera
}

// clients are all that must be able to watch.
func clients(programs string) []client {
	tcp, udp, multicast := "tcp", "udp", "multicast"
	lib := filepath.Join(programs, "gortsplib")
	return []client{
		{"ffmpeg over TCP", "main", false, false, byFFmpeg(tcp), readMatroska, 0},
		{"ffmpeg over UDP", "sub", false, false, byFFmpeg(udp), readMatroska, 0},
		{"ffmpeg over multicast", "sub", false, true, byFFmpeg("udp_multicast"), readMatroska, catchUp},
		{"ffmpeg over TLS", "sub", true, false, byFFmpeg(tcp), readMatroska, 0},
		{"GStreamer over TCP", "sub", false, false, byGStreamer("tcp"), readBuffers, catchUp},
		{"GStreamer over UDP", "sub", false, false, byGStreamer("udp"), readBuffers, catchUp},
		{"GStreamer over multicast", "sub", false, true, byGStreamer("udp-mcast"), readBuffers, catchUp},
		{"GStreamer over TLS", "sub", true, false, byGStreamer("tcp"), readBuffers, catchUp},
		{"GStreamer over SRTP", "sub", true, false, byGStreamer("udp"), readBuffers, catchUp},
		{"gortsplib over TCP", "sub", false, false, byGortsplib(lib, tcp), readParts, 0},
		{"gortsplib over UDP", "sub", false, false, byGortsplib(lib, udp), readParts, 0},
		{"gortsplib over multicast", "sub", false, true, byGortsplib(lib, multicast), readParts, 0},
		{"gortsplib over TLS", "sub", true, false, byGortsplib(lib, tcp), readParts, 0},
		{"gortsplib over SRTP", "sub", true, false, byGortsplib(lib, udp), readParts, 0},
		{"gortsplib over SRTP multicast", "sub", true, true, byGortsplib(lib, multicast), readParts, 0},
		{"yellowstone", "sub", false, false, byYellowstone, readParts, 0},
	}
}

// catchUp is how long it takes until the next sender report. GStreamer plays what it
// is given from some time back faster, each medium by itself, and lines both up by
// that report; who joins a multicast knows no time of day before.
const catchUp = 2 * time.Second

// address is the URL of a client's stream.
func (c client) address(live command.Live) string {
	if c.tls {
		return live.TLSURLs[c.stream]
	}
	return live.URLs[c.stream]
}

// socketBuffer holds what comes over UDP while a client waits for a processor:
// how busy this machine is shall not matter.
const socketBuffer = 4 << 20

func readMatroska(ctx context.Context, dir string, s size) (recording, error) {
	return readFilm(ctx, filepath.Join(dir, "film.mkv"), s)
}

func byFFmpeg(transport string) func(context.Context, source, string, time.Duration) error {
	return func(ctx context.Context, from source, dir string, span time.Duration) error {
		args := []string{"-v", "error", "-nostdin", "-rtsp_transport", transport, "-buffer_size", strconv.Itoa(socketBuffer)}
		args = append(args, "-i", from.url, "-t", fmt.Sprint(span.Seconds()+1), "-c", "copy", "-copyinkf", filepath.Join(dir, "film.mkv"))
		return quietly(from.in.command(ctx, "ffmpeg", args...))
	}
}

func byGStreamer(transport string) func(context.Context, source, string, time.Duration) error {
	return func(ctx context.Context, from source, dir string, span time.Duration) error {
		u, err := url.Parse(from.url)
		if err != nil {
			return err
		}
		user := u.User.Username()
		password, _ := u.User.Password()
		u.User = nil
		args := []string{"-e", "rtspsrc", "name=r", "location=" + u.String(), "user-id=" + user, "user-pw=" + password,
			"protocols=" + transport, fmt.Sprint("udp-buffer-size=", socketBuffer), "tls-validation-flags=0"}
		args = append(args, strings.Fields("r. ! application/x-rtp,media=video ! rtph264depay ! h264parse config-interval=-1 ! "+
			"video/x-h264,stream-format=byte-stream,alignment=au ! progressreport update-freq=1 ! gdppay ! filesink")...)
		args = append(args, "location="+filepath.Join(dir, "video.gdp"))
		args = append(args, strings.Fields("r. ! application/x-rtp,media=audio ! rtppcmudepay ! gdppay ! filesink")...)
		args = append(args, "location="+filepath.Join(dir, "sound.gdp"))
		return launch(from.in.command(ctx, "gst-launch-1.0", args...), span+2*time.Second)
	}
}

// progress is a line of GStreamer's progressreport.
var progress = regexp.MustCompile(`^progressreport.*: (\d+) seconds`)

// launch runs gst-launch until it says that it has so much; it then ends its files.
func launch(c *exec.Cmd, span time.Duration) error {
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return err
	}
	told := false
	lines(out, func(l string) {
		if m := progress.FindStringSubmatch(l); m != nil && !told && number(m[1]) >= span.Seconds() {
			told = true
			c.Process.Signal(syscall.SIGINT)
		}
	})
	if err := c.Wait(); err != nil || said.Len() > 0 {
		return fmt.Errorf("gst-launch-1.0: %w: %s", errors.Join(err, errors.New("it complains")), strings.TrimSpace(said.String()))
	}
	return nil
}

func byGortsplib(program, transport string) func(context.Context, source, string, time.Duration) error {
	return func(ctx context.Context, from source, dir string, span time.Duration) error {
		c := from.in.command(ctx, program, "-transport", transport, "-pictures", strconv.Itoa(picturesOf(span)), "-out", dir, "-roots", from.roots)
		c.Env = append(os.Environ(), "RTSP_URL="+from.url)
		return quietly(c)
	}
}

// yellowstone is where our program around that library is.
var yellowstone = filepath.Join("..", "viewers", "yellowstone")

func byYellowstone(ctx context.Context, from source, dir string, span time.Duration) error {
	if _, err := os.Stat(filepath.Join(yellowstone, "node_modules")); err != nil {
		return fmt.Errorf("the npm package yellowstone is missing: make tools installs it")
	}
	c := from.in.command(ctx, "node", filepath.Join(yellowstone, "record.js"), dir, strconv.Itoa(picturesOf(span)))
	c.Env = append(os.Environ(), "RTSP_URL="+from.url)
	return quietly(c)
}

// picturesOf is so many that the sound of the span is surely there too.
func picturesOf(span time.Duration) int { return int(span.Seconds()+1) * 25 }

// quietly runs a program that has nothing to say.
func quietly(c *exec.Cmd) error {
	out, err := c.CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("%w: %s", errors.Join(err, errors.New("it complains")), bytes.TrimSpace(out))
	}
	return nil
}
