package rtsp

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

func TestMain(m *testing.M) {
	beAudience()
	goleak.VerifyTestMain(m)
}

const (
	user     = "m7"
	password = "correct-horse"
	patience = 15 * time.Second
	interval = 40 * time.Millisecond
)

// program finds a tool, or fails saying where it comes from.
func program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("this test needs the program %s: install the Debian package %s", name, debianPackage)
	}
	return path
}

type footage struct {
	once  sync.Once
	units []hal.AccessUnit
	err   error
}

var film footage // 100 pictures of 25 a second, a key frame each second, some larger than a write

// pictures returns real H.264, encoded once a test run.
func pictures(t testing.TB) []hal.AccessUnit {
	t.Helper()
	ffmpeg := program(t, "ffmpeg", "ffmpeg")
	film.once.Do(func() { film.units, film.err = encode(ffmpeg) })
	require.NoError(t, film.err)
	return film.units
}

func encode(ffmpeg string) ([]hal.AccessUnit, error) {
	out, err := exec.Command(ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=4,noise=alls=12:allf=t",
		"-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "high", "-coder", "1", "-g", "25", "-keyint_min", "25",
		"-sc_threshold", "0", "-bf", "0", "-crf", "26", "-x264-params", "aud=1", "-pix_fmt", "yuv420p", "-f", "h264", "-").Output()
	if err != nil {
		return nil, err
	}
	var units []hal.AccessUnit
	for _, part := range strings.Split(string(out), "\x00\x00\x00\x01\x09")[1:] {
		u, err := hal.ParseAnnexB([]byte("\x00\x00\x00\x01\x09"+part), nil)
		if err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	return units, nil
}

// rig is a server with a stream that plays the film over and over.
type rig struct {
	*Server
	t      testing.TB
	stream *media.Stream
	log    *observer.ObservedLogs
	asked  chan string
	refuse atomic.Bool // the user has no password any more

	mu     sync.Mutex
	pushed [][]byte  // access units as they were pushed
	start  time.Time // when picture 0 was captured
	stop   context.CancelFunc
	over   sync.WaitGroup
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	return newRigWith(t, change, func(*Server) {})
}

// newRigWith lets a test prepare the server before it runs.
func newRigWith(t testing.TB, change func(*Config), prepare func(*Server)) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	cfg := Config{Address: "127.0.0.1:0", TCP: true, UDP: true, MaxViewers: 100, Log: zap.New(core)}
	if change != nil {
		change(&cfg)
	}
	r := &rig{t: t, log: logs, stream: media.NewStream("main", 8<<20), asked: make(chan string, 100)}
	r.Server = New(cfg, []*media.Stream{r.stream, media.NewStream("sub", 1<<20)}, func(u string) (string, bool) {
		return password, u == user && !r.refuse.Load()
	}, func(s string) { r.asked <- s })
	prepare(r.Server)
	r.run()
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.t.Cleanup(func() {
		r.quiet()
		cancel()
		select {
		case err := <-done:
			require.NoError(r.t, err)
		case <-time.After(patience):
			r.t.Error("the server did not end")
		}
	})
	select {
	case <-r.Ready():
	case err := <-done:
		r.t.Fatal(err)
	}
}

// push hands over pictures n..m-1 of the endless film, captured at given times.
func (r *rig) push(n int, captured time.Time) {
	units := pictures(r.t)
	u := units[n%len(units)]
	u.Seq, u.Time = uint64(n), captured
	r.mu.Lock()
	r.pushed = append(r.pushed, u.Data)
	r.mu.Unlock()
	r.stream.PushVideo(u)
}

// play pushes pictures in real time, and sound (a tone, 20 ms a frame) if there
// is to be some, until quiet.
func (r *rig) play() {
	pictures(r.t)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.start = cancel, time.Now()
	r.over.Go(func() {
		t := time.NewTicker(interval / 2)
		defer t.Stop()
		for n := 0; ; n++ {
			captured := r.start.Add(time.Duration(n) * interval / 2)
			if n%2 == 0 {
				r.push(n/2, captured)
			}
			if f := r.stream.Audio(); f != nil {
				r.stream.PushAudio(hal.AudioFrame{Data: tone(n), Samples: 160, Time: captured})
			}
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// flood pushes the first pictures as fast as it can until quiet.
func (r *rig) flood() {
	units := pictures(r.t)[:5]
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.start = cancel, time.Now()
	r.over.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			u := units[n%len(units)]
			u.Time = time.Now()
			r.stream.PushVideo(u)
			runtime.Gosched()
		}
	})
}

func (r *rig) quiet() {
	if r.stop != nil {
		r.stop()
	}
	r.over.Wait()
}

// tone is frame n of sound whose bytes tell n.
func tone(n int) []byte {
	b := make([]byte, 160)
	for i := range b {
		b[i] = byte(n)
	}
	return b
}

func (r *rig) units() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.pushed...)
}

func (r *rig) url(path string) string {
	return fmt.Sprintf("rtsp://%s:%s@%s/%s", user, url.QueryEscape(password), r.Addr(), path)
}

func (r *rig) secureURL(path string) string {
	return fmt.Sprintf("rtsps://%s:%s@%s/%s", user, url.QueryEscape(password), r.TLSAddr(), path)
}

func (r *rig) plainURL(path string) string { return fmt.Sprintf("rtsp://%s/%s", r.Addr(), path) }

// indexOf tells which picture b is, looking beyond the one given; -1: none.
func (r *rig) indexOf(b []byte, after int) int {
	list := r.units()
	for i := after + 1; i < len(list); i++ {
		if bytes.Equal(pictureBytes(list[i]), b) {
			return i
		}
	}
	return -1
}

// eventually waits for a condition of the server, which has no event for it.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

// client is gortsplib's, connected and described.
func (r *rig) client(transport gortsplib.Transport, path string) (*gortsplib.Client, *description.Session) {
	c, desc, err := r.tryClient(transport, r.url(path))
	require.NoError(r.t, err)
	r.t.Cleanup(c.Close)
	return c, desc
}

// receiveBuffer lets a client be held up for a moment by a busy machine; 0: the system's own size.
func receiveBuffer() int {
	b, _ := os.ReadFile("/proc/sys/net/core/rmem_max")
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return min(n, 1<<20)
}

func (r *rig) tryClient(transport gortsplib.Transport, address string) (*gortsplib.Client, *description.Session, error) {
	u, err := base.ParseURL(address)
	require.NoError(r.t, err)
	c := &gortsplib.Client{
		Transport: &transport, ReadTimeout: patience, TLSConfig: &tls.Config{InsecureSkipVerify: true}, UDPReadBufferSize: receiveBuffer(),
		OnDecodeError: func(err error) { r.t.Error(err) },
		OnPacketsLost: func(n uint64) { r.t.Errorf("%d packets lost", n) },
	}
	if err := c.Start(u.Scheme, u.Host); err != nil {
		return nil, nil, err
	}
	desc, _, err := c.Describe(u)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	if err := c.SetupAll(desc.BaseURL, desc.Medias); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, desc, nil
}

func tempFile(t testing.TB, name string) string {
	t.Helper()
	return t.TempDir() + string(os.PathSeparator) + name
}

// reasons counts why viewers left.
func (r *rig) reasons() map[any]int {
	m := map[any]int{}
	for _, e := range r.log.FilterMessage("RTSP viewer left").All() {
		m[e.ContextMap()["reason"]]++
	}
	return m
}
