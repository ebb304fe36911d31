package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/stack"
)

// How long and how often things are measured.
const (
	latencyTime = 30 * time.Second
	allocTime   = 20 * time.Second
	starts      = 7
)

func measure(ctx context.Context, bin string) ([]figure, error) {
	dir, err := os.MkdirTemp("", "camagent-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s, err := stack.New(ctx, stack.Options{Bin: bin, Dir: dir, RTSP: port})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	live, err := s.WaitLive(ctx)
	if err != nil {
		return nil, err
	}
	url := live["main"]
	figures, err := running(ctx, s, url)
	if err != nil {
		return figures, err
	}
	started, err := startTimes(ctx, s, url)
	figures = append(figures, started...)
	if err != nil {
		return figures, err
	}
	alloc, err := allocations(ctx, s, url)
	figures = append(figures, alloc...)
	if err != nil {
		return figures, err
	}
	piped, err := pipeMemory(ctx, s, url)
	figures = append(figures, piped...)
	if err != nil {
		return figures, err
	}
	size, err := armSize(ctx, dir)
	return append(figures, size...), err
}

// pipeMemory is the memory of a camera whose pictures come from outside: a film
// of 720p at 2 Mbit/s, with one viewer, recording and uploading. The simulated
// camera holds its own pictures in memory besides, which no real one does.
func pipeMemory(ctx context.Context, s *stack.Stack, url string) ([]figure, error) {
	film := s.Path("film.h264")
	encode := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25,noise=alls=6:allf=t", "-t", "10",
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-b:v", "2M", "-maxrate", "2M", "-bufsize", "2M", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-bf", "0", film)
	if out, err := encode.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ffmpeg (package ffmpeg): %w: %s", err, out)
	}
	s.Configure(map[string]any{"board": "pipe", "pipe": map[string]any{"sources": []any{map[string]any{"stream": "main", "path": film}}}})
	if err := s.StartCamera(); err != nil {
		return nil, err
	}
	if err := firstKeyFrame(ctx, url, 10*time.Second); err != nil {
		return nil, err
	}
	c, err := play(url, func(*rtp.Packet) {}, func(rtcp.Packet) {})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	time.Sleep(allocTime)
	rss, err := statusKB(s.Camera.PID(), "VmRSS")
	return []figure{atMost("resident memory with pictures from a pipe, one viewer, recording, uploading", rss/1000, "MB", 20)}, err
}

// running measures a camera that records, uploads, and has one viewer.
func running(ctx context.Context, s *stack.Stack, url string) ([]figure, error) {
	before, err := cpuSeconds(s.Camera.PID())
	if err != nil {
		return nil, err
	}
	began := time.Now()
	lat, err := latencies(ctx, url, latencyTime)
	if err != nil {
		return nil, err
	}
	after, err := cpuSeconds(s.Camera.PID())
	if err != nil {
		return nil, err
	}
	rss, err := statusKB(s.Camera.PID(), "VmRSS")
	if err != nil {
		return nil, err
	}
	peak, err := statusKB(s.Camera.PID(), "VmHWM")
	if err != nil {
		return nil, err
	}
	cpu := 100 * (after - before) / time.Since(began).Seconds()
	return []figure{
		atMost("frame from board to RTSP socket, p50", quantile(lat, 0.50), "ms", 0),
		atMost("frame from board to RTSP socket, p99", quantile(lat, 0.99), "ms", 5),
		atMost("resident memory, simulated board, one viewer, recording, uploading", rss/1000, "MB", 20),
		atMost("its peak since start", peak/1000, "MB", 0),
		atMost("CPU, simulated encoders included", cpu, "% of a core", 0),
	}, nil
}

// startTimes starts the camera anew and waits as a viewer that asks all the time.
func startTimes(ctx context.Context, s *stack.Stack, url string) ([]figure, error) {
	var ms []float64
	for range starts {
		if err := s.Camera.Stop(); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := s.StartCamera(); err != nil {
			return nil, err
		}
		if err := firstKeyFrame(ctx, url, 10*time.Second); err != nil {
			return nil, err
		}
		ms = append(ms, float64(time.Since(began).Microseconds())/1000)
	}
	return []figure{atMost(fmt.Sprintf("start to first key frame at a waiting viewer, median of %d", starts), quantile(ms, 0.5), "ms", 300)}, nil
}

// allocations runs the same camera in this process and counts, with its viewer
// in another.
func allocations(ctx context.Context, s *stack.Stack, url string) ([]figure, error) {
	if err := s.Camera.Stop(); err != nil {
		return nil, err
	}
	cfg, err := config.Load(s.CameraConfig(), nil, nil)
	if err != nil {
		return nil, err
	}
	a, err := agent.New(cfg, hal.NewCamera(sim.New(sim.Config{})), zap.NewNop())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, nil) }()
	if err := firstKeyFrame(ctx, url, 10*time.Second); err != nil {
		return nil, err
	}
	play := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "null", "-")
	if err := play.Start(); err != nil {
		return nil, fmt.Errorf("ffmpeg (package ffmpeg): %w", err)
	}
	time.Sleep(3 * time.Second)
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	time.Sleep(allocTime)
	runtime.ReadMemStats(&m1)
	cancel()
	play.Wait()
	frames := allocTime.Seconds() * 25 // of main; sub's allocations count as well
	err = <-ended
	return []figure{
		atMost("allocations a frame of main, whole path, one viewer, recording", float64(m1.Mallocs-m0.Mallocs)/frames, "", 0),
		atMost("bytes allocated a frame", float64(m1.TotalAlloc-m0.TotalAlloc)/frames/1000, "kB", 0),
	}, err
}

func armSize(ctx context.Context, dir string) ([]figure, error) {
	file := filepath.Join(dir, "camagent-armv7")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./cmd/camagent")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOARM=7")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("armv7: %w: %s", err, out)
	}
	st, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return []figure{atMost("armv7 binary of camagent", float64(st.Size())/1e6, "MB", 13)}, nil
}

func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

// statusKB reads a field of /proc/PID/status, in kB (of 1024 bytes, given as 1000s).
func statusKB(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(l, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1.024, err
		}
	}
	return 0, errors.New(field + " is not in /proc/PID/status")
}

// cpuSeconds is user and system time of a process (proc(5), fields 14 and 15, in ticks of 10 ms).
func cpuSeconds(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100, errors.Join(err1, err2)
}
