package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	"image/jpeg"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/stack"
)

// footage is how long the cameras of these tests film.
const footage = 60 * time.Second

// record is what camctl writes beside a clip.
type record struct {
	cloud.Manifest
	Details cloud.ClipDetails `json:"details"`
}

// clipFile is one decrypted clip.
type clipFile struct {
	path string
	record
}

// clipsOf reads the folder that camctl sync fills, in the order of the chain.
func clipsOf(t *testing.T, dir string) []clipFile {
	t.Helper()
	var list []clipFile
	names, err := filepath.Glob(filepath.Join(dir, "*.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		c := clipFile{path: n}
		b, err := os.ReadFile(strings.TrimSuffix(n, ".mp4") + ".json")
		if err != nil {
			continue // being fetched
		}
		if err := json.Unmarshal(b, &c.record); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b clipFile) int { return int(a.Sequence) - int(b.Sequence) })
	return list
}

func status(t *testing.T, s *stack.Stack) command.Status {
	t.Helper()
	var st command.Status
	if err := s.CtlJSON(t.Context(), &st, "status"); err != nil {
		t.Fatal(err)
	}
	return st
}

// viewer plays a stream in the background.
type viewer struct {
	cancel context.CancelFunc
	done   chan struct{}
	list   []seen
	err    error
}

func watch(ctx context.Context, url, transport string) *viewer {
	ctx, cancel := context.WithCancel(ctx)
	v := &viewer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		v.list, v.err = decode(ctx, nil, "-rtsp_transport", transport, "-i", url)
	}()
	return v
}

func (v *viewer) stop(t *testing.T) []seen {
	t.Helper()
	v.cancel()
	<-v.done
	if v.err != nil {
		t.Errorf("viewer: %v", v.err)
	}
	return v.list
}

// stopRecording closes the open clip and waits until everything is in the
// store, fetched back, and decrypted.
func stopRecording(t *testing.T, s *stack.Stack, dir string) []clipFile {
	t.Helper()
	if _, err := s.Ctl(t.Context(), "set", "recording=off"); err != nil {
		t.Fatal(err)
	}
	var closed uint64
	eventually(t, 2*time.Minute, "everything uploaded", func() bool {
		st := status(t, s)
		closed = st.Recording.Clips
		return !st.Recording.Active && st.Upload.Pending == 0
	})
	eventually(t, time.Minute, "everything fetched back", func() bool { return len(clipsOf(t, dir)) == int(closed) })
	return clipsOf(t, dir)
}

// checkClip asks Debian's age and ffprobe whether the clip is what its manifest
// claims, from the sealed file as the storage keeps it.
func checkClip(t *testing.T, s *stack.Stack, objects string, c clipFile) {
	t.Helper()
	var sealed string
	filepath.WalkDir(objects, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == c.Name+".mp4.age" && !d.IsDir() {
			if st, err := os.Stat(path); err == nil && st.Size() == c.Size {
				sealed = path
			}
		}
		return nil
	})
	if sealed == "" {
		t.Fatalf("%s is not in the storage's folder with %d bytes", c.Name, c.Size)
	}
	plain := filepath.Join(t.TempDir(), "plain.mp4")
	output(t, "age", "-d", "-i", s.Path("owner", "age.key"), "-o", plain, sealed)
	got := output(t, "ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", plain)
	if n, _ := strconv.Atoi(strings.Trim(strings.TrimSpace(got), ",")); n != c.Details.Frames {
		t.Errorf("%s: ffprobe counts %s frames, the manifest claims %d", c.Name, got, c.Details.Frames)
	}
}

func TestM1_M2_M3_M4_M5_M7_M14_P1_P5_SimulatedCameraEndToEnd(t *testing.T) {
	t.Parallel()
	st, args := startStorage(t)
	opt := withStorage(st, args)
	capture := filepath.Join(t.TempDir(), "mqtt.bin")
	opt.Cloud = append(opt.Cloud, "--capture", capture)
	s := newStack(t, opt)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "microphone=on"); err != nil {
		t.Fatal(err)
	}
	sync, err := s.Sync()
	if err != nil {
		t.Fatal(err)
	}
	live := liveOf(t, s)
	tcp := watch(t.Context(), live["main"], "tcp")
	after(t, footage)
	watched := tcp.stop(t)
	lost := lostOf(t, s, "main")
	clips := stopRecording(t, s, s.Path("clips"))
	if err := sync.Stop(); err != nil {
		t.Error(err)
	}

	contiguous(t, "viewer", watched, lost)
	if want := int(footage/time.Second) * 25 * 95 / 100; len(watched) < want {
		t.Errorf("the viewer saw %d pictures in %s, want at least %d", len(watched), footage, want)
	}
	recorded := decodeClips(t, clips)
	contiguous(t, "clips", recorded, lost)
	if first, last := recorded[0].frame, recorded[len(recorded)-1].frame; watched[0].frame < first || watched[len(watched)-1].frame > last {
		t.Errorf("the viewer saw %d to %d, the clips hold %d to %d", watched[0].frame, watched[len(watched)-1].frame, first, last)
	}
	for _, c := range clips {
		checkClip(t, s, st.opt.Dir, c)
	}
	checkSound(t, clips)
	checkSecrecy(t, s, clips, st.opt.Dir, capture)
}

func liveOf(t *testing.T, s *stack.Stack) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	urls, err := s.WaitLive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return urls
}

// decodeClips decodes all clips and compares each with its manifest.
func decodeClips(t *testing.T, clips []clipFile) (all []seen) {
	t.Helper()
	for i, c := range clips {
		list, err := decode(t.Context(), nil, "-guess_layout_max", "0", "-i", c.path)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if len(list) != c.Details.Frames || list[0].frame != uint32(c.Details.FirstFrame) {
			t.Errorf("%s: %d frames from %d, the manifest claims %d from %d", c.Name, len(list), list[0].frame, c.Details.Frames, c.Details.FirstFrame)
		}
		if c.Sequence != uint64(i+1) {
			t.Errorf("%s: sequence %d, want %d", c.Name, c.Sequence, i+1)
		}
		all = append(all, list...)
	}
	return all
}

// checkSound compares the beeps of the last clips with the lamp in their pictures;
// the very last one may have been too short to hold any.
func checkSound(t *testing.T, clips []clipFile) {
	t.Helper()
	matched := 0
	for _, c := range clips[max(0, len(clips)-4) : len(clips)-1] {
		matched += checkBeeps(t, c)
	}
	if matched < 3 {
		t.Errorf("only %d beeps to compare", matched)
	}
	t.Logf("%d beeps within 40 ms of the lamp", matched)
}

// checkBeeps returns how many there were.
func checkBeeps(t *testing.T, c clipFile) (matched int) {
	t.Helper()
	list, err := decode(t.Context(), nil, "-guess_layout_max", "0", "-i", c.path)
	if err != nil {
		t.Fatal(err)
	}
	times := pts(t, c.path)
	heard := beeps(t, c.path)
	for i := 1; i < len(list); i++ {
		if !list[i].lamp || list[i-1].lamp {
			continue
		}
		best := math.Inf(1)
		for _, b := range heard {
			best = min(best, math.Abs(b-times[i]))
		}
		if best > 0.040 {
			t.Errorf("%s: the lamp at %.3f s, the nearest beep %.3f s away (%v)", c.Name, times[i], best, heard)
		}
		matched++
	}
	return matched
}

// checkSecrecy searches everything on the card, in the storage and what passed
// the broker, for anything readable. P1, P5.
func checkSecrecy(t *testing.T, s *stack.Stack, clips []clipFile, objects, capture string) {
	t.Helper()
	n := needles{}
	for _, c := range clips {
		n.addFile(t, c.path)
	}
	qr, err := s.QR(t.Context(), "text")
	if err != nil {
		t.Fatal(err)
	}
	n.addLabel(t, qr)
	picture := takeSnapshot(t, s)
	n.add("JPEG header", picture[:16])
	n.add("JFIF", []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00"))
	n.add("picture of the snapshot", picture[len(picture)/2:len(picture)/2+16])
	size := n.searchTree(t, s.Path("camera", "card")) + n.searchTree(t, objects) + n.searchTree(t, filepath.Dir(capture))
	for _, l := range []string{"camagent.log", "camcloud.log", "sync.log"} {
		b, err := os.ReadFile(s.Path(l))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range n.find(b) {
			t.Errorf("%s: %s", l, f)
		}
	}
	if size < 10<<20 {
		t.Errorf("only %d bytes searched: is the card where it should be?", size)
	}
	plain, err := os.ReadFile(clips[0].path)
	if err != nil {
		t.Fatal(err)
	}
	if found := n.find(plain); len(found) < 5 {
		t.Errorf("the search finds only %v in a clip that was decrypted on purpose", found)
	}
	t.Logf("%d needles, %d MB searched", len(n), size>>20)
}

// takeSnapshot takes a picture as the owner and looks whether it is one of this camera. M14.
func takeSnapshot(t *testing.T, s *stack.Stack) []byte {
	t.Helper()
	if _, err := s.Ctl(t.Context(), "snapshot", "-o", s.Path("snapshot.jpg")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(s.Path("snapshot.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("the snapshot: %v", err)
	}
	y, ok := img.(*image.YCbCr)
	if !ok || y.Rect.Dx() != simWidth || y.Rect.Dy() != simHeight {
		t.Fatalf("the snapshot is a %T of %v", img, img.Bounds())
	}
	if n, ok := sim.ReadStrip(y.Y, y.YStride, simWidth, simHeight); !ok || n < uint32(footage/time.Second)*20 {
		t.Errorf("the snapshot shows frame %d (%v)", n, ok)
	}
	return raw
}

// TestR2_R8_PipeCameraWithBrokerAndStorageAway films real H.264 (High profile,
// CABAC) through a pipe, while the broker and then the storage are away for 20 s.
func TestR2_R8_PipeCameraWithBrokerAndStorageAway(t *testing.T) {
	t.Parallel()
	st, args := startStorage(t)
	opt := withStorage(st, args)
	film := makeFilm(t)
	opt.Camera = map[string]any{"board": "pipe", "pipe": map[string]any{"sources": []any{map[string]any{
		"stream": "main", "fps": 25,
		"command": []string{"ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "h264", "-"},
	}}}}
	s := newStack(t, opt)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sync, err := s.Sync()
	if err != nil {
		t.Fatal(err)
	}
	live := liveOf(t, s)
	copied := filepath.Join(t.TempDir(), "viewer.h264")
	play := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", live["main"], "-c", "copy", "-f", "h264", copied)
	if err := play.Start(); err != nil {
		t.Fatal(err)
	}
	after(t, footage/6)
	if err := s.Cloud.Stop(); err != nil {
		t.Fatal(err)
	}
	after(t, footage/3)
	if err := s.StartCloud(t.Context()); err != nil {
		t.Fatal(err)
	}
	st.stop(t)
	after(t, footage/3)
	st.start(t)
	after(t, footage/6)
	play.Process.Signal(syscall.SIGINT)
	play.Wait()
	eventually(t, time.Minute, "the camera is back", func() bool {
		_, err := s.Ctl(t.Context(), "status")
		return err == nil
	})
	clips := stopRecording(t, s, s.Path("clips"))
	if err := sync.Stop(); err != nil {
		t.Error(err)
	}

	reference := pictures(t, film)
	var all []string
	for _, c := range clips {
		list := pictures(t, c.path)
		if len(list) != c.Details.Frames {
			t.Errorf("%s: %d pictures, the manifest claims %d", c.Name, len(list), c.Details.Frames)
		}
		all = append(all, list...)
	}
	follows(t, "clips", reference, all)
	if want := int(footage/time.Second) * 25 * 95 / 100; len(all) < want {
		t.Errorf("the clips hold %d pictures of %s, want at least %d", len(all), footage, want)
	}
	follows(t, "viewer", reference, pictures(t, copied))
}

// makeFilm encodes 12 s that look like a camera's picture, noise and all, with
// every picture different.
func makeFilm(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "film.h264")
	output(t, "ffmpeg", "-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25,noise=alls=8:allf=t", "-t", "12",
		"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-pix_fmt", "yuv420p", "-b:v", "1000k",
		"-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-bf", "0", path)
	return path
}

// pictures names every picture of a file by the hash of its slices.
func pictures(t *testing.T, file string) []string {
	t.Helper()
	// Without parameter sets, delimiters and SEI, which travel in other ways.
	out := output(t, "ffmpeg", "-v", "error", "-nostdin", "-i", file, "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb,filter_units=remove_types=6-9", "-f", "framehash", "-hash", "md5", "-")
	var list []string
	for _, l := range strings.Split(out, "\n") {
		if l != "" && l[0] != '#' {
			list = append(list, strings.TrimSpace(l[strings.LastIndex(l, ",")+1:]))
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s holds no picture", file)
	}
	return list
}

// follows fails the test unless list is a run of the endlessly repeated reference.
func follows(t *testing.T, what string, reference, list []string) {
	t.Helper()
	at := slices.Index(reference, list[0])
	if at < 0 {
		t.Fatalf("%s: the first picture is not in the film", what)
	}
	for i, p := range list {
		if want := reference[(at+i)%len(reference)]; p != want {
			t.Fatalf("%s: picture %d is number %d of the film, want %d", what, i, slices.Index(reference, p), (at+i)%len(reference))
		}
	}
	t.Logf("%s: %d pictures, each once", what, len(list))
}
