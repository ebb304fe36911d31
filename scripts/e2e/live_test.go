package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/stack"
)

const (
	// watched is how long each client watches, in the stream's time.
	watched = 30 * time.Second
	// patience is how long a client may take for it on a machine that is busy.
	patience = 2 * time.Minute
	// joinEvery is the time between two that come: a different place in the GOP for each.
	joinEvery = 130 * time.Millisecond
)

// TestM2_R1_EveryClientReceivesEveryFrame has all clients watch one camera at the
// same time, over a cable of their own.
func TestM2_R1_EveryClientReceivesEveryFrame(t *testing.T) {
	t.Parallel()
	needTools(t, map[string]string{"nsenter": "util-linux", "gst-launch-1.0": "gstreamer1.0-tools", "node": "nodejs", "tshark": "tshark"})
	programs := buildViewers(t)
	camera, viewer := newCable(t)
	s, live := startLive(t, camera)
	roots := s.Path("camera.pem")
	if err := os.WriteFile(roots, []byte(live.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	captured := startCapture(t, camera, programs, live)
	var sharks sync.WaitGroup
	defer sharks.Wait()
	sharks.Go(func() { t.Run("tshark", captured.check) })
	list := clients(programs)
	results := watchAll(t, list, live, viewer, roots)
	streams := footageIn(t, s, list, results)
	for i, c := range list {
		t.Run(c.name, func(t *testing.T) {
			if err := results[i].err; err != nil {
				t.Fatal(err)
			}
			checkRecording(t, c, results[i].recording, streams[c.stream], watched)
		})
	}
}

// buildViewers builds our programs around client libraries.
func buildViewers(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", dir+"/", "./scripts/viewers/gortsplib")
	c.Dir = filepath.Join("..", "..")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building the viewer: %v: %s", err, out)
	}
	return dir
}

// startLive has a camera at one end of the cable serve in all ways, with sound.
func startLive(t *testing.T, camera space) (*stack.Stack, command.Live) {
	t.Helper()
	s := camera.newStackIn(t, stack.Options{Camera: map[string]any{"rtsp": map[string]any{
		"address": cameraIP + ":8554", "tls_address": cameraIP + ":8322", "multicast": true, "multicast_interface": "cable",
	}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "microphone=on", "recording=off"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the microphone is open", func() bool { return status(t, s).Microphone })
	return s, liveInfo(t, s)
}

type result struct {
	recording recording
	err       error
}

// watchAll has all clients record at the same time, and reads what they have,
// two at a time.
func watchAll(t *testing.T, list []client, live command.Live, in space, roots string) []result {
	t.Helper()
	results := make([]result, len(list))
	readers := make(chan struct{}, 2)
	var all sync.WaitGroup
	for i, c := range list {
		from, dir := source{in: in, url: c.address(live)}, t.TempDir()
		if c.tls {
			from.roots = roots
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := c.record(ctx, from, dir, watched); err != nil {
				results[i].err = err
				return
			}
			readers <- struct{}{}
			results[i].recording, results[i].err = c.read(t.Context(), dir, sizes[c.stream])
			<-readers
		})
		after(t, joinEvery)
	}
	all.Wait()
	return results
}

// footageIn is what each stream gave.
func footageIn(t *testing.T, s *stack.Stack, list []client, results []result) map[string]*footageOf {
	t.Helper()
	streams := map[string]*footageOf{}
	for _, st := range status(t, s).Streams {
		streams[st.Name] = &footageOf{map[uint32]bool{}, int(st.Lost)}
	}
	for i, c := range list {
		for _, p := range results[i].recording.pictures {
			streams[c.stream].seen[p.frame] = true
		}
	}
	return streams
}
