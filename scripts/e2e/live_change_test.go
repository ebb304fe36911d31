package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/stack"
)

// TestM2_R1_PicturesChangeWhileViewersWatch changes frame rate, bit rate and GOP
// by the owner's settings, then the size, as a device does that begins anew: three
// viewers see all of it.
func TestM2_R1_PicturesChangeWhileViewersWatch(t *testing.T) {
	t.Parallel()
	needTools(t, map[string]string{"gst-launch-1.0": "gstreamer1.0-tools"})
	programs := buildViewers(t)
	s := newStack(t, stack.Options{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "microphone=on", "recording=off"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the microphone is open", func() bool { return status(t, s).Microphone })
	url := liveOf(t, s)["sub"]
	viewers := map[string]*onlooker{}
	for name, args := range onlookers(programs, url) {
		viewers[name] = look(t, url, args)
	}
	for name, v := range viewers {
		eventually(t, 20*time.Second, name+" sees something", v.sees)
	}
	changePictures(t, s)
	for name, v := range viewers {
		v.stop(t, name)
	}
	compare(t, viewers, lostOf(t, s, "sub"))
}

// compare reads what the viewers have, and looks whether each has all that any has.
func compare(t *testing.T, viewers map[string]*onlooker, lost int) {
	t.Helper()
	var given []*footageOf
	runs := map[string][][]shot{}
	for name, v := range viewers {
		runs[name] = runsOf(shots(t, v.film()))
		for i, run := range runs[name] {
			if i == len(given) {
				given = append(given, &footageOf{map[uint32]bool{}, lost})
			}
			for _, p := range run {
				given[i].seen[p.frame] = true
			}
		}
	}
	for name := range viewers {
		t.Run(name, func(t *testing.T) { checkChanges(t, runs[name], given) })
	}
}

// lostOf is how many frames the device lost.
func lostOf(t *testing.T, s *stack.Stack, stream string) int {
	t.Helper()
	for _, st := range status(t, s).Streams {
		if st.Name == stream {
			return int(st.Lost)
		}
	}
	t.Fatalf("no stream %s", stream)
	return 0
}

// deviceLost tells whether the camera has said that its device loses frames: a busy
// machine may hold up the simulated one.
func deviceLost(s *stack.Stack) bool { return s.Logged(`"code": "stream.main.lost"`) }

// changePictures is what happens before the viewers.
func changePictures(t *testing.T, s *stack.Stack) {
	t.Helper()
	after(t, 3*time.Second)
	if _, err := s.Ctl(t.Context(), "set", "sub.fps=15", "sub.gop=15", "sub.bitrate=200000"); err != nil {
		t.Fatal(err)
	}
	after(t, 4*time.Second)
	other := func() bool {
		return slices.ContainsFunc(status(t, s).Conditions, func(c command.Condition) bool { return c.Code == "stream.sub.config" })
	}
	if answer, err := s.Simulate(t.Context(), "wrong", "for=4s"); err != nil {
		t.Fatal(answer, err)
	}
	eventually(t, 20*time.Second, "pictures of another size", other)
	eventually(t, 20*time.Second, "pictures as they were", func() bool { return !other() })
	after(t, 2*time.Second)
}

// onlooker is a viewer that watches until it is told to stop.
type onlooker struct {
	dir  string
	cmd  *exec.Cmd
	said bytes.Buffer
}

// onlookers are the arguments of viewers, by name. Each writes DIR/video.h264;
// ffmpeg decodes too, as a player does.
func onlookers(programs, url string) map[string][]string {
	return map[string][]string{
		"ffmpeg": {"ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url,
			"-map", "0:v", "-c", "copy", "-flush_packets", "1", "-f", "h264", "DIR/video.h264", "-map", "0:v", "-f", "null", "-"},
		"gortsplib": {filepath.Join(programs, "gortsplib"), "-transport", "udp", "-out", "DIR"},
		"GStreamer": strings.Fields("gst-launch-1.0 -e -q rtspsrc protocols=tcp location=" + url +
			" ! application/x-rtp,media=video ! rtph264depay ! h264parse config-interval=-1 ! " +
			"video/x-h264,stream-format=byte-stream,alignment=au ! filesink buffer-mode=2 location=DIR/video.h264"),
	}
}

func look(t *testing.T, url string, args []string) *onlooker {
	t.Helper()
	v := &onlooker{dir: t.TempDir()}
	for i := range args {
		args[i] = strings.Replace(args[i], "DIR", v.dir, 1)
	}
	v.cmd = exec.CommandContext(t.Context(), args[0], args[1:]...)
	v.cmd.Env = append(os.Environ(), "RTSP_URL="+url)
	v.cmd.Stderr = &v.said
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *onlooker) film() string { return filepath.Join(v.dir, "video.h264") }

// sees tells whether pictures have come. gortsplib's recorder writes in pieces.
func (v *onlooker) sees() bool {
	st, err := os.Stat(v.film())
	return err == nil && st.Size() > 0
}

// stop ends it with Ctrl-C, which ffmpeg calls a failure.
func (v *onlooker) stop(t *testing.T, name string) {
	t.Helper()
	v.cmd.Process.Signal(syscall.SIGINT)
	err := v.cmd.Wait()
	said := slices.DeleteFunc(strings.Split(strings.TrimSpace(v.said.String()), "\n"), func(l string) bool {
		// ffmpeg's files tick at the first frame rate, whatever comes later.
		return l == "" || strings.Contains(l, "non monotonically increasing dts to muxer")
	})
	if err != nil && v.cmd.ProcessState.ExitCode() != 255 || len(said) > 0 {
		t.Errorf("%s: %v: %s", name, err, strings.Join(said, "\n"))
	}
}

// shot is one decoded picture.
type shot struct {
	frame uint32
	size  size
	key   bool
}

// shots decodes a film once for each size in it, and reads each picture at its own.
func shots(t *testing.T, film string) (list []shot) {
	t.Helper()
	var probed struct {
		Frames []struct {
			Width  int `json:"width"`
			Height int `json:"height"`
			Key    int `json:"key_frame"`
		} `json:"frames"`
	}
	out := output(t, "ffprobe", "-v", "error", "-threads", "1", "-show_entries", "frame=width,height,key_frame", "-of", "json", film)
	if err := json.Unmarshal([]byte(out), &probed); err != nil {
		t.Fatal(err)
	}
	decoded := map[size][]byte{}
	for i, f := range probed.Frames {
		s := size{f.Width, f.Height}
		if decoded[s] == nil {
			decoded[s] = []byte(output(t, "ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", film,
				"-vf", fmt.Sprintf("scale=%d:%d", s.w, s.h), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"))
		}
		n, ok := uint32(0), len(decoded[s]) == len(probed.Frames)*s.w*s.h
		if ok {
			n, ok = sim.ReadStrip(decoded[s][i*s.w*s.h:][:s.w*s.h], s.w, s.w, s.h)
		}
		if !ok {
			t.Fatalf("picture %d of %d (%v) can't be read", i, len(probed.Frames), s)
		}
		list = append(list, shot{n, s, f.Key == 1})
	}
	return list
}

// runsOf parts pictures where their size changes.
func runsOf(list []shot) (runs [][]shot) {
	for i, p := range list {
		if i == 0 || p.size != list[i-1].size {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], p)
	}
	return runs
}

// checkChanges looks for three runs of pictures of one size each, of which the
// settings changed in the first.
func checkChanges(t *testing.T, runs [][]shot, given []*footageOf) {
	t.Helper()
	var got []size
	for _, run := range runs {
		got = append(got, run[0].size)
	}
	if want := []size{{640, 360}, {320, 180}, {640, 360}}; !slices.Equal(got, want) {
		t.Fatalf("sizes %v, want %v", got, want)
	}
	for i, run := range runs {
		checkRun(t, run, given[i], i == 0)
	}
	if given[0].lost > 0 {
		return // after a loss, the device makes a key frame
	}
	before, changed := runs[0][:min(60, len(runs[0]))], runs[0][max(0, len(runs[0])-32):]
	if n := gop(before); n != 0 && n <= 15 {
		t.Errorf("key frames %d pictures apart before the change", n)
	}
	if n := gop(changed); n != 15 {
		t.Errorf("key frames %d pictures apart after the change, want 15", n)
	}
}

// checkRun looks whether a run is whole, from a key frame on, and but for the
// first from the device's first frame.
func checkRun(t *testing.T, run []shot, stream *footageOf, joined bool) {
	t.Helper()
	first := run[0]
	if !first.key || !joined && int(first.frame) > stream.lost {
		t.Errorf("pictures of %v begin at frame %d, key frame: %v", first.size, first.frame, first.key)
	}
	var list []picture
	for _, p := range run {
		list = append(list, picture{seen: seen{frame: p.frame}})
	}
	checkFrames(t, list, stream)
}

// gop is the distance of the first two key frames, 0 if there is one at most.
func gop(list []shot) int {
	at := -1
	for i, p := range list {
		if p.key && at >= 0 {
			return i - at
		}
		if p.key {
			at = i
		}
	}
	return 0
}
