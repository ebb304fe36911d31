package clip

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const frame = 40 * time.Millisecond

var continuous = Order{Trigger: "continuous"}

// tool returns a program of Debian's, or fails naming its package.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt install %s", name, pkg)
	}
	return path
}

// units cuts a stream that has access unit delimiters.
func units(t testing.TB, stream []byte) (list []hal.AccessUnit) {
	t.Helper()
	var params []byte
	delimiter := []byte{0, 0, 0, 1, hal.NALAUD}
	for _, b := range bytes.Split(stream, delimiter)[1:] {
		au, err := hal.ParseAnnexB(append(bytes.Clone(delimiter), b...), params)
		if err != nil {
			t.Fatal(err)
		}
		if params = au.Data[:au.Params]; au.Params == 0 {
			params = nil
		}
		list = append(list, au)
	}
	return list
}

// real is the committed stream: 100 pictures, a key frame every 25.
func real(t testing.TB) []hal.AccessUnit {
	t.Helper()
	b, err := os.ReadFile("../../testdata/high-320x180.h264")
	if err != nil {
		t.Fatal(err)
	}
	return units(t, b)
}

// encoded makes another stream of 50 pictures.
func encoded(t testing.TB, args ...string) []hal.AccessUnit {
	t.Helper()
	args = append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x96:r=25:d=2", "-c:v", "libx264",
		"-pix_fmt", "yuv420p", "-bf", "0", "-x264-params", "aud=1:repeat-headers=1"}, append(args, "-f", "h264", "-")...)
	out, err := exec.Command(tool(t, "ffmpeg", "ffmpeg"), args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return units(t, out)
}

// camera plays pictures into a stream, in the bubble's time.
type camera struct {
	*media.Stream
	list []hal.AccessUnit
	seq  uint64
	ring int // bytes
}

func newCamera(list []hal.AccessUnit) *camera {
	return &camera{Stream: media.NewStream("main", 16<<20), list: list, ring: 16 << 20}
}

// play pushes the next n pictures, one every 40 ms.
func (c *camera) play(n int) {
	for range n {
		c.push()
		time.Sleep(frame)
	}
}

// memStore keeps clips; its hooks fail or delay.
type memStore struct {
	mu     sync.Mutex
	clips  []*memClip
	missed []Miss
	aborts int
	keeps  bool // what was synced of a clip that fails
	past   bool // nothing of a clip that fails may be recorded again
	create func(ctx context.Context) error
	write  func(n int) error // n: calls so far in this clip
	sync   func() error
	close  func() error
	synced func(*memClip, Info)
}

type memClip struct {
	store  *memStore
	start  Start
	info   Info
	data   []byte
	ends   []int // length of data after each write
	writes int
	synced int
	last   Info      // of Sync
	kept   Info      // of the last one that was right
	keptTo int       // length of data then
	at     time.Time // of Close
	done   bool
}

func (s *memStore) Create(ctx context.Context, start Start) (Sink, error) {
	s.mu.Lock()
	hook := s.create
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx); err != nil {
			return nil, err
		}
	}
	return &memClip{store: s, start: start}, nil
}

func (s *memStore) Missed(m Miss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed = append(s.missed, m)
}

// misuse is what a recorder must never do to a sink.
var misuse = errors.New("sink used after its end")

func call(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

func (c *memClip) Write(p []byte) (int, error) {
	if c.done {
		panic(misuse)
	}
	c.writes++
	if c.store.write != nil {
		if err := c.store.write(c.writes); err != nil {
			return 0, err
		}
	}
	c.data = append(c.data, p...)
	c.ends = append(c.ends, len(c.data))
	return len(p), nil
}

func (c *memClip) Sync(i Info) error {
	if c.done {
		panic(misuse)
	}
	c.synced, c.last = len(c.data), i
	if c.store.synced != nil {
		c.store.synced(c, i)
	}
	err := call(c.store.sync)
	if err == nil {
		c.kept, c.keptTo = i, c.synced
	}
	return err
}

func (c *memClip) Close(info Info) error {
	if c.done {
		panic(misuse)
	}
	if err := call(c.store.close); err != nil {
		return err
	}
	c.done, c.info, c.at = true, info, time.Now()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.clips = append(c.store.clips, c)
	return nil
}

func (c *memClip) Fail(newest uint64) uint64 {
	if c.done {
		panic(misuse)
	}
	c.done = true
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.aborts++
	switch {
	case c.store.past:
		return newest + 1
	case !c.store.keeps || c.kept.Frames == 0:
		return c.start.FirstFrame
	}
	c.info, c.at, c.data = c.kept, time.Now(), c.data[:c.keptTo]
	c.info.Cut = true
	c.store.clips = append(c.store.clips, c)
	return c.kept.LastFrame + 1
}

// record runs a recorder in a bubble while scene plays, then ends it by ctx.
func record(t *testing.T, cam func() *camera, store *memStore, cfg Config, scene func(c *camera)) *camera {
	t.Helper()
	var c *camera
	synctest.Test(t, func(t *testing.T) {
		c = cam()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		rec := New(c.Stream, store, cfg)
		rec.Follow(continuous, time.Time{})
		go func() { done <- rec.Run(ctx) }()
		synctest.Wait()
		scene(c)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return c
}

// content is a clip taken apart again.
type content struct {
	init          fmp4.Init
	video, sound  []*fmp4.Sample
	soundAt       []uint64 // position of each sound sample
	videoDuration uint64
	fragments     []uint64 // duration of each fragment's pictures
}

func open(t testing.TB, data []byte) (c content) {
	t.Helper()
	if err := c.init.Unmarshal(bytes.NewReader(data)); err != nil {
		t.Fatalf("moov: %v", err)
	}
	var parts fmp4.Parts
	if err := parts.Unmarshal(data); err != nil {
		t.Fatalf("fragments: %v", err)
	}
	for _, p := range parts {
		var length uint64
		for _, tr := range p.Tracks {
			at := tr.BaseTime
			if tr.ID == videoTrack && at != c.videoDuration {
				t.Errorf("fragment %d begins at %d, the one before ended at %d", p.SequenceNumber, at, c.videoDuration)
			}
			for _, s := range tr.Samples {
				if tr.ID == videoTrack {
					c.video = append(c.video, s)
					c.videoDuration += uint64(s.Duration)
					length += uint64(s.Duration)
				} else {
					c.sound, c.soundAt = append(c.sound, s), append(c.soundAt, at)
				}
				at += uint64(s.Duration)
			}
		}
		c.fragments = append(c.fragments, length)
	}
	return c
}

// probed is what ffprobe tells of a stream.
type probed struct {
	Type     string `json:"codec_type"`
	Codec    string `json:"codec_name"`
	Frames   string `json:"nb_read_frames"`
	Packets  string `json:"nb_read_packets"`
	Start    string `json:"start_time"`
	Duration string `json:"duration"`
}

func (p probed) seconds() float64 { f, _ := strconv.ParseFloat(p.Duration, 64); return f }

// probe has the clip decoded by ffmpeg, which must not say a word, and counted by ffprobe.
func probe(t testing.TB, data []byte) []probed {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.mp4")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	// MP4 names no channel layout for PCM, and ffmpeg says that it guesses.
	out, err := exec.Command(tool(t, "ffmpeg", "ffmpeg"), "-v", "warning", "-xerror", "-err_detect", "explode",
		"-guess_layout_max", "0", "-i", path, "-map", "0:v", "-f", "null", "-", "-map", "0:a?", "-c", "copy", "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
	out, err = exec.Command(tool(t, "ffprobe", "ffmpeg"), "-v", "error", "-count_frames", "-count_packets",
		"-show_streams", "-of", "json", path).Output()
	if err != nil {
		t.Fatalf("ffprobe: %v", err)
	}
	var answer struct{ Streams []probed }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Streams
}

// once checks that the clips hold the frames from to to-1, each once, in order.
func once(t *testing.T, c *camera, clips []*memClip, from, to uint64) {
	t.Helper()
	next := from
	for i, clip := range clips {
		got := open(t, clip.data)
		if clip.info.FirstFrame != next || clip.start.FirstFrame != next || clip.info.Frames != len(got.video) ||
			clip.info.LastFrame != next+uint64(len(got.video))-1 {
			t.Errorf("clip %d: %+v, holds %d frames, want from %d", i, clip.info, len(got.video), next)
		}
		for k, s := range got.video {
			au := c.list[next%uint64(len(c.list))]
			if !bytes.Equal(s.Payload, au.Data[au.Params:]) || s.IsNonSyncSample == au.Key {
				t.Fatalf("clip %d, picture %d is not frame %d", i, k, next)
			}
			next++
		}
		if got.video[0].IsNonSyncSample {
			t.Errorf("clip %d does not begin with a key frame", i)
		}
	}
	if next != to {
		t.Errorf("clips end before frame %d, want %d", next, to)
	}
}

// push pushes the next picture now.
func (c *camera) push() {
	au := c.list[c.seq%uint64(len(c.list))]
	au.Seq, au.Time = c.seq, time.Now()
	c.seq++
	c.PushVideo(au)
}
