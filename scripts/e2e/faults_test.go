package e2e

import (
	"bufio"
	"bytes"
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/stack"
)

// player is a viewer that counts what it decodes, in one session.
type player struct {
	cmd     *exec.Cmd
	frames  atomic.Int64
	done    chan struct{}
	mu      sync.Mutex
	printed bytes.Buffer
}

// Write keeps what ffmpeg complains of.
func (p *player) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed.Write(b)
}

// play decodes a stream with ffmpeg until stop.
func play(t *testing.T, url string) *player {
	t.Helper()
	p := &player{done: make(chan struct{})}
	p.cmd = exec.Command("ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url,
		"-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "-flush_packets", "1", "-")
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), "#") {
				p.frames.Add(1)
			}
		}
	}()
	t.Cleanup(func() { p.stop() })
	return p
}

// stop ends the viewer and returns its complaints.
func (p *player) stop() string {
	p.cmd.Process.Signal(syscall.SIGINT)
	<-p.done
	p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed.String()
}

// plays waits until the viewer has got n more pictures.
func (p *player) plays(t *testing.T, n int64, what string) {
	t.Helper()
	want := p.frames.Load() + n
	eventually(t, 10*time.Second, "the viewer sees pictures "+what, func() bool {
		select {
		case <-p.done:
			t.Fatalf("the viewer ended %s: %s", what, p.stop())
		default:
		}
		return p.frames.Load() >= want
	})
}

// fault is one thing that goes wrong with the hardware.
type fault struct {
	action    string        // as camagent sim takes it
	condition string        // what the owner is told meanwhile
	lost      time.Duration // so much of what was before it may be lost
}

// faultClips is the length of clips here; an unfinished one goes with its card.
const faultClips = 4 * time.Second

var faults = []fault{
	{"stall for=6s", "stream.main", time.Second},
	{"unplug for=2500ms", "stream.main", time.Second},
	{"garbage", "stream.main", time.Second},
	{"slow 5 for=2s", "stream.main.lost", time.Second},
	{"clock 20s", "stream.main", time.Second},
	{"clock -20s", "stream.main", time.Second},
	{"wrong for=2s", "stream.main.config", time.Second},
	{"pullcard for=4s", "card", 2 * faultClips},
}

func TestM13_R4_R7_EveryFaultWhileAViewerWatchesAndTheRecorderRecords(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{Camera: map[string]any{"record": map[string]any{"clip_length": faultClips.String()}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync, err := s.Sync()
	if err != nil {
		t.Fatal(err)
	}
	p := play(t, liveOf(t, s)["main"])
	p.plays(t, 25, "at the start")
	var began []time.Time
	for _, f := range faults {
		began = append(began, f.happen(t, s, p))
	}
	clips := stopRecording(t, s, s.Path("clips"))
	if err := sync.Stop(); err != nil {
		t.Error(err)
	}
	if complaints := p.stop(); strings.Contains(complaints, "error while decoding") || strings.Contains(complaints, "concealing") {
		t.Errorf("the viewer got damaged pictures: %s", complaints)
	}
	for _, c := range clips {
		checkWhole(t, c)
	}
	for i, at := range began {
		if !slices.ContainsFunc(clips, func(c clipFile) bool { return c.before(t, at, faults[i].lost) }) {
			t.Errorf("%s at %s: no clip of the moment before", faults[i].action, at.Format(time.TimeOnly))
		}
	}
	if st := status(t, s); time.Duration(st.Uptime)*time.Millisecond < time.Since(began[0]) {
		t.Errorf("camagent was started anew: up for %d ms", st.Uptime)
	}
}

// happen lets the fault happen, and waits until the owner was told, all is well
// again, and the viewer sees pictures.
func (f *fault) happen(t *testing.T, s *stack.Stack, p *player) time.Time {
	t.Helper()
	began := time.Now()
	if out, err := s.Simulate(t.Context(), strings.Fields(f.action)...); err != nil {
		t.Fatalf("%s: %v: %s", f.action, err, out)
	}
	told := func(st command.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c command.Condition) bool { return c.Code == f.condition })
	}
	eventually(t, 10*time.Second, f.action+": the condition "+f.condition, func() bool { return told(status(t, s)) })
	shown := time.Since(began)
	eventually(t, 20*time.Second, f.action+": all is well again", func() bool { return !told(status(t, s)) })
	p.plays(t, 30, "after "+f.action)
	t.Logf("%-20s told after %v, over after %v", f.action, shown.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
	return began
}

// before tells whether the clip holds the moment before a time, or ends at most
// lost before it.
func (c *clipFile) before(t *testing.T, at time.Time, lost time.Duration) bool {
	t.Helper()
	start, err := time.Parse(time.RFC3339Nano, c.Details.Started)
	if err != nil {
		t.Fatal(err)
	}
	end := start.Add(time.Duration(c.Details.DurationMS) * time.Millisecond)
	return start.Before(at) && end.After(at.Add(-lost))
}

// checkWhole decodes every frame of a clip, and compares with its manifest.
func checkWhole(t *testing.T, c clipFile) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin", "-i", c.path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framecrc", "-")
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Errorf("%s: %v: %s", c.Name, err, &complaints)
	}
	n := 0
	for l := range strings.Lines(string(out)) {
		if !strings.HasPrefix(l, "#") {
			n++
		}
	}
	if n != c.Details.Frames || n == 0 {
		t.Errorf("%s: %d frames, the manifest claims %d", c.Name, n, c.Details.Frames)
	}
}
