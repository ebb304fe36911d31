//go:build vm

package v4l2

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/scripts/vm/usbcam"
)

// These tests run in a virtual machine with the modules uvcvideo and vhci-hcd:
// the kernel's own driver, and a virtual camera behind it. They have the machine
// to themselves, one after the other.

// camera is a virtual camera, and what it sent of late.
type camera struct {
	*usbcam.Camera

	mu   sync.Mutex
	sent [][]byte
}

// plug plugs in a camera that sends what the simulator sees.
func plug(t *testing.T, serial string, port int) *camera {
	t.Helper()
	c := &camera{}
	var err error
	c.Camera, err = usbcam.Plug(usbcam.Config{Source: newReel(t), Serial: serial, Port: port, Sent: c.keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *camera) keep(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent[max(0, len(c.sent)-kept):], bytes.Clone(b))
}

const kept = 100

// took tells what the camera has sent, as access units, and forgets it.
func (c *camera) took(t *testing.T) []hal.AccessUnit {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []hal.AccessUnit
	for _, b := range c.sent {
		au, err := hal.ParseAnnexB(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, au)
	}
	c.sent = nil
	return list
}

// plugStill plugs in a camera that sends JPEG pictures.
func plugStill(t *testing.T, port int) *usbcam.Camera {
	t.Helper()
	list := &usbcam.List{Size: usbcam.Size{Width: 320, Height: 240}, Key: func([]byte) bool { return true }}
	for _, shade := range []byte{60, 120, 180} {
		list.Frames = append(list.Frames, motionJPEG(t, 320, 240, shade))
	}
	c, err := usbcam.Plug(usbcam.Config{Source: list, Kind: usbcam.MJPEG, Serial: "still", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *camera) board(t *testing.T, still string) *Board {
	t.Helper()
	b, err := New(Config{Sources: []Source{{Stream: "main", Device: "usb:" + c.Number()}}, Still: still})
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

func open(t *testing.T, b *Board, want hal.VideoConfig) hal.VideoStream {
	t.Helper()
	v, err := b.OpenVideo(t.Context(), "main", want)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func next(t *testing.T, v hal.VideoStream) hal.AccessUnit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	au, err := v.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return au
}

func closeIt(t *testing.T, v hal.VideoStream) {
	t.Helper()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestVM_Haltest(t *testing.T) {
	c := plug(t, "1", 0)
	s := plugStill(t, 1)
	subject := haltest.Subject{
		Name: "v4l2",
		Open: func(context.Context) (hal.Board, []any, error) {
			b, err := New(Config{Sources: []Source{{Stream: "main", Device: "usb:" + c.Number(), Width: 640, Height: 360, FPS: 25, Bitrate: 600_000}}, Still: "usb:" + s.Number()})
			if err != nil {
				return nil, nil, err
			}
			return b, nil, nil
		},
	}
	subject.Done = func(r haltest.Result) { t.Logf("%s: %s in %v", r.Name, r.Outcome, r.Took) }
	report := haltest.Check(t, subject)
	for _, r := range report.Results {
		if slices.Contains([]string{"keyframe", "tune-config", "tune-fps", "tune-bitrate", "bitrate", "most"}, r.Name) && r.Outcome == haltest.NotApplicable {
			t.Errorf("%s is not applicable: %s", r.Name, r.Reason)
		}
	}
	// Plugging in takes a socket and a goroutine of the virtual camera's.
	subject.Unplug, subject.Replug, subject.Shared, subject.Only = c.Unplug, c.Replug, true, []string{"unplug"}
	haltest.Check(t, subject)
}

func TestM1_VM_FramesAreThoseThatTheCameraSent(t *testing.T) {
	c := plug(t, "1", 0)
	b := c.board(t, "")
	for _, want := range []hal.VideoConfig{{Width: 640, Height: 360, FPS: 25}, {Width: 1280, Height: 720, FPS: 15}} {
		v := open(t, b, want)
		var got []hal.AccessUnit
		for range 50 {
			got = append(got, next(t, v))
		}
		if is := v.Config(); is.Width != want.Width || is.Height != want.Height || is.FPS != want.FPS {
			t.Errorf("it is %+v, want %+v", is, want)
		}
		closeIt(t, v)
		sent := c.took(t)
		for i, au := range got {
			if n := int(au.Seq - got[0].Seq); n >= len(sent) || !bytes.Equal(au.Data, sent[n].Data) {
				t.Fatalf("%+v: frame %d, number %d of %d, is not what the camera sent", want, i, n, len(sent))
			}
		}
		if lost := got[49].Seq - got[0].Seq - 49; lost > 0 {
			t.Logf("%+v: %d frames were lost, as the machine is slow", want, lost)
		}
	}
}

func TestVM_ForcedKeyFrameAndBitrate(t *testing.T) {
	c := plug(t, "1", 0)
	cam := hal.NewCamera(c.board(t, ""))
	v, err := cam.OpenVideo(t.Context(), "main", hal.VideoConfig{Width: 640, Height: 360, FPS: 25})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{hal.CapKeyframe, hal.CapTune} {
		if k, ok := cam.Capability(name); !ok || k.By != "" {
			t.Errorf("%s: %v, %+v, want by the camera itself", name, ok, k)
		}
	}
	nextOf := func() hal.AccessUnit {
		au, err := v.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return au
	}
	for range 5 {
		nextOf()
	}
	if err := cam.RequestKeyframe("main"); err != nil {
		t.Fatal(err)
	}
	for after := 0; !nextOf().Key; after++ {
		if after == 5 {
			t.Fatal("no key frame within 5 frames")
		}
	}
	is, err := cam.Tune("main", hal.VideoConfig{Bitrate: 300_000})
	if err != nil || is.Bitrate != 300_000 || v.Config().Bitrate != 300_000 {
		t.Errorf("tuned to %+v (%v), Config tells %+v", is, err, v.Config())
	}
	if s := c.Stats(); s.Keys != 1 || s.Bitrate != 300_000 || s.Starts != 1 {
		t.Errorf("the camera itself knows of %+v, want one key frame, 300000 bit/s, one start", s)
	}
	// Another rate starts it anew; frames go on in order.
	before := nextOf()
	if is, err = cam.Tune("main", hal.VideoConfig{FPS: 15}); err != nil || is.FPS != 15 || is.Bitrate != 300_000 {
		t.Errorf("tuned to %+v, %v", is, err)
	}
	first := nextOf()
	if !first.Key && first.Lost > 0 || first.Seq <= before.Seq || c.Stats().Starts != 2 {
		t.Errorf("after another rate: frame %d (key: %v, lost: %d) after %d, %d starts", first.Seq, first.Key, first.Lost, before.Seq, c.Stats().Starts)
	}
	if err := cam.Close(); err != nil {
		t.Error(err)
	}
}

func TestVM_PictureControls(t *testing.T) {
	c := plug(t, "1", 0)
	b := c.board(t, "")
	p, ok := hal.As[hal.ImageTuner](b)
	if !ok {
		t.Fatal("no picture controls")
	}
	want := map[string]hal.Control{
		"brightness":  {ID: "brightness", Range: hal.Range{Min: -64, Max: 64}},
		"contrast":    {ID: "contrast", Range: hal.Range{Max: 95}, Default: 32, Value: 32},
		"saturation":  {ID: "saturation", Range: hal.Range{Max: 128}, Default: 64, Value: 64},
		"sharpness":   {ID: "sharpness", Range: hal.Range{Max: 6}, Default: 3, Value: 3},
		"antiflicker": {ID: "antiflicker", Range: hal.Range{Max: 60}, Default: 50, Value: 50},
	}
	list := p.ImageControls()
	for _, k := range list {
		if k != want[k.ID] {
			t.Errorf("is %+v, want %+v", k, want[k.ID])
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d controls, want %d", len(list), len(want))
	}
	set := func(id string, value, is, inCamera int) {
		t.Helper()
		if got, err := p.SetImageControl(id, value); err != nil || got != is {
			t.Errorf("%s %d: %d, %v, want %d", id, value, got, err, is)
		}
		if got, err := c.Control(id); err != nil || got != inCamera {
			t.Errorf("%s: in the camera %d, %v, want %d", id, got, err, inCamera)
		}
	}
	set("brightness", -17, -17, -17)
	set("antiflicker", 58, 60, 2)
	v := open(t, b, hal.VideoConfig{})
	set("contrast", 90, 90, 90) // while it runs
	closeIt(t, v)
	// A camera that was away gets its settings again.
	if err := errors.Join(c.Unplug(), c.Replug()); err != nil {
		t.Fatal(err)
	}
	v = open(t, b, hal.VideoConfig{})
	defer closeIt(t, v)
	for id, value := range map[string]int{"brightness": -17, "antiflicker": 2, "contrast": 90, "sharpness": 3} {
		if got, err := c.Control(id); err != nil || got != value {
			t.Errorf("%s: after the camera was away %d, %v, want %d", id, got, err, value)
		}
	}
}

func TestR4_VM_UnplugAndReturnUnderAnotherNumber(t *testing.T) {
	c := plug(t, "1", 0)
	before, err := c.Device()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Sources: []Source{{Stream: "main", Device: before}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	v := open(t, b, hal.VideoConfig{})
	next(t, v)
	if err := c.Unplug(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for err = nil; err == nil; _, err = v.Next(ctx) {
	}
	if !errors.Is(err, hal.ErrGone) {
		t.Errorf("unplugged: %v", err)
	}
	t.Log(err)
	closeIt(t, v)
	_, err = b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if !errors.Is(err, hal.ErrGone) {
		t.Errorf("opened while it is away: %v", err)
	}
	t.Log(err)
	other := plug(t, "2", 1) // takes the number
	if err := c.Replug(); err != nil {
		t.Fatal(err)
	}
	if after, err := c.Device(); err != nil || after == before {
		t.Fatalf("it came back as %s, %v, so that this test shows nothing", after, err)
	}
	v = open(t, b, hal.VideoConfig{})
	next(t, v)
	closeIt(t, v)
	if len(c.took(t)) == 0 || len(other.took(t)) > 0 {
		t.Error("the frames are those of the other camera")
	}
}

func TestVM_BusyDevice(t *testing.T) {
	c := plug(t, "1", 0)
	one, two := c.board(t, ""), c.board(t, "")
	v := open(t, one, hal.VideoConfig{})
	defer closeIt(t, v)
	next(t, v)
	_, err := two.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if !errors.Is(err, hal.ErrBusy) {
		t.Errorf("%v, want %v", err, hal.ErrBusy)
	}
	t.Log(err)
	next(t, v) // which goes on
}

func TestVM_OtherDevices(t *testing.T) {
	c := plug(t, "1", 0)
	s := plugStill(t, 1)
	still, err := s.Device()
	if err != nil {
		t.Fatal(err)
	}
	main, err := c.Device()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		device, still string
		want          error
	}{
		{"/dev/video77", "", hal.ErrNotFound},
		{"usb:1234:5678", "", hal.ErrNotFound},
		{"usb:nonsense", "", hal.ErrArgument},
		{"/dev/null", "", hal.ErrArgument},
		{"/proc/version", "", hal.ErrArgument},
		{"/tmp", "", hal.ErrArgument},
		{metadataNode(t), "", hal.ErrArgument},
		{still, "", hal.ErrArgument},
		{"usb:" + s.Number(), "", hal.ErrArgument},
		{main, main, hal.ErrArgument},
		{main, "/dev/zero", hal.ErrArgument},
	} {
		b, err := New(Config{Sources: []Source{{Stream: "main", Device: k.device}}, Still: k.still})
		if !errors.Is(err, k.want) {
			t.Errorf("%+v: %v", k, err)
		}
		if b != nil {
			b.Close()
		}
		t.Log(err)
	}
}

// metadataNode finds a node of uvcvideo that gives no pictures.
func metadataNode(t *testing.T) string {
	t.Helper()
	nodes, err := filepath.Glob("/dev/video*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range nodes {
		d, err := openDevice(linux{}, path)
		if err != nil {
			t.Fatal(err)
		}
		caps := d.caps
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		if caps&capVideoCapture == 0 {
			return path
		}
	}
	t.Fatalf("all of %v give pictures", nodes)
	return ""
}

func TestVM_StillPictures(t *testing.T) {
	c := plug(t, "1", 0)
	s := plugStill(t, 1)
	b := c.board(t, "usb:"+s.Number())
	cam := hal.NewCamera(b)
	for range 3 {
		b, err := cam.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if size, err := jpeg.DecodeConfig(bytes.NewReader(b)); err != nil || size.Width != 320 || size.Height != 240 {
			t.Errorf("%+v, %v", size, err)
		}
		if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	}
	g, ok := hal.As[hal.Grabber](b)
	if !ok {
		t.Fatal("no raw pictures")
	}
	if p, err := g.Grab(t.Context()); err != nil || p.Rect.Dx() != 320 || p.Y[0] < 50 || p.Y[0] > 190 {
		t.Errorf("%+v, %v", p, err)
	}
	if n := s.Stats().Starts; n != 1 {
		t.Errorf("%d starts for three pictures", n)
	}
	if err := errors.Join(s.Unplug(), s.Replug()); err != nil {
		t.Fatal(err)
	}
	if _, err := cam.Snapshot(t.Context()); err != nil && !errors.Is(err, hal.ErrGone) {
		t.Error(err)
	}
	if _, err := cam.Snapshot(t.Context()); err != nil {
		t.Error("a camera that is back: ", err)
	}
}
