package v4l2

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

const dev0 = "/dev/video0"

func read(t *testing.T, v hal.VideoStream) hal.AccessUnit {
	t.Helper()
	// No context of its own: the end of one would wake up a Next that a test expects
	// somebody else to wake.
	au, err := v.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return au
}

func TestM1_FramesUntilAndAfterALoss(t *testing.T) {
	t.Parallel()
	n := h264Node()
	n.controls = map[uint32]queryControl{cidForceKey: {Type: ctrlTypeButton}}
	k := newFake(map[string]*fakeNode{dev0: n})
	v := openFake(t, fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0)))
	frames := []struct {
		data        []byte
		step, flags uint32
	}{
		{picture1(), 1, 0}, // in the middle of a GOP
		{keyFrame(), 1, 0}, {picture1(), 1, 0},
		{picture1(), 3, 0},         // two were lost
		{picture1(), 1, 0},         // can't be decoded
		{keyFrame(), 1, flagError}, // broken
		{keyFrame(), 1, 0}, {picture1(), 1, 0},
	}
	want := []struct {
		key       bool
		seq, lost uint64
	}{{true, 2, 0}, {false, 3, 0}, {true, 9, 5}, {false, 10, 0}}
	for i := 0; len(frames) > 0; {
		k.give(t, dev0, frames[0].data, frames[0].step, frames[0].flags)
		gives := !(i == 0 && len(frames) == 8) && !(i == 2 && len(frames) > 2)
		frames = frames[1:]
		if !gives {
			continue
		}
		au := read(t, v)
		if au.Key != want[i].key || au.Seq != want[i].seq || au.Lost != want[i].lost {
			t.Errorf("frame %d: key %v, number %d, %d lost, want %+v", i, au.Key, au.Seq, au.Lost, want[i])
		}
		if au.Key != (au.Params > 0) || time.Since(au.Time) > patience {
			t.Errorf("frame %d: %d bytes of parameter sets, time %v", i, au.Params, au.Time)
		}
		i++
	}
	k.look(func() {
		if n.keys != 1 { // the second wish came within a second
			t.Errorf("%d key frames were asked for, want 1", n.keys)
		}
	})
	if c := v.Config(); c.Width != 64 || c.Height != 96 || c.FPS != 25 {
		t.Errorf("%+v, want the size that the SPS tells", c)
	}
}

// A camera that can be asked for key frames, but not be told a GOP, is asked.
func TestGOPIsKeptByAsking(t *testing.T) {
	t.Parallel()
	n := h264Node()
	n.controls = map[uint32]queryControl{cidForceKey: {Type: ctrlTypeButton}}
	k := newFake(map[string]*fakeNode{dev0: n})
	c := mainOf(dev0)
	c.Sources[0].GOP = 5
	v := openFake(t, fakeBoard(t, k, finder{k, "", ""}, c))
	var keys []int
	for i := range 16 {
		data := picture1()
		k.look(func() {
			if i == 0 || n.keys > len(keys)-1 {
				data = keyFrame()
			}
		})
		k.give(t, dev0, data, 1, 0)
		if read(t, v).Key {
			keys = append(keys, i)
		}
	}
	if want := []int{0, 5, 10, 15}; !slices.Equal(keys, want) {
		t.Errorf("key frames at %v, want %v", keys, want)
	}
	if gop := v.Config().GOP; gop != 5 {
		t.Errorf("Config tells a GOP of %d", gop)
	}
}

func TestNextEnds(t *testing.T) {
	t.Parallel()
	k := newFake(map[string]*fakeNode{dev0: h264Node()})
	b := fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0))
	v := openFake(t, b)
	next := func(ctx context.Context) chan error {
		done, before := make(chan error, 1), 0
		k.look(func() { before = k.nodes[dev0].empty })
		go func() { _, err := v.Next(ctx); done <- err }()
		k.waited(dev0, before)
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := next(ctx)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	k.give(t, dev0, keyFrame(), 1, 0)
	if au := read(t, v); !au.Key {
		t.Error("the stream does not live on")
	}
	done = next(t.Context())
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, hal.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	v = openFake(t, b)
	done = next(t.Context())
	k.pull(dev0)
	if err := <-done; !errors.Is(err, hal.ErrGone) {
		t.Errorf("pulled: %v", err)
	}
	if _, err := v.Next(t.Context()); !errors.Is(err, hal.ErrGone) {
		t.Errorf("pulled, once more: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{}); !errors.Is(err, hal.ErrGone) {
		t.Errorf("opened while it is away: %v", err)
	}
}

// Another rate takes another start: what comes before its key frame is of no use.
func TestAnotherRateStartsAnew(t *testing.T) {
	t.Parallel()
	n := h264Node()
	n.controls = map[uint32]queryControl{cidBitrate: {Type: ctrlTypeInteger, Min: 1, Max: 100}}
	k := newFake(map[string]*fakeNode{dev0: n})
	b := fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0))
	v := openFake(t, b)
	k.give(t, dev0, keyFrame(), 1, 0)
	first := read(t, v)
	done := make(chan hal.AccessUnit, 1)
	go func() { done <- read(t, v) }() // is not disturbed
	k.waited(dev0, 0)
	if is, err := (tuner{b}).Tune("main", hal.VideoConfig{FPS: 10}); err != nil || is.FPS != 10 || n.starts != 2 {
		t.Errorf("%+v, %v, %d starts", is, err, n.starts)
	}
	k.give(t, dev0, picture1(), 1, 0)
	k.give(t, dev0, keyFrame(), 1, 0)
	if au := <-done; !au.Key || au.Seq != first.Seq+2 || au.Lost != 1 {
		t.Errorf("key %v, number %d after %d, %d lost", au.Key, au.Seq, first.Seq, au.Lost)
	}
}

func TestGarbageEndsTheStream(t *testing.T) {
	t.Parallel()
	for what, data := range map[string][]byte{"no parameter sets": []byte("nonsense"), "no key frame": annexB(testSPS, testPPS, []byte{0x41, 0x9a})} {
		k := newFake(map[string]*fakeNode{dev0: h264Node()})
		v := openFake(t, fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0)))
		done := make(chan error, 1)
		go func() { _, err := v.Next(t.Context()); done <- err }()
		for i := range maxUseless {
			for free := 0; free == 0; {
				k.look(func() { free = len(k.nodes[dev0].free) })
			}
			k.give(t, dev0, data, min(uint32(i), 1), 0)
		}
		if err := <-done; !errors.Is(err, hal.ErrGarbage) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
	}
}

// What a device lacks is not claimed; what a driver's controls can do is.
func TestCapabilitiesAreThoseOfTheDevice(t *testing.T) {
	t.Parallel()
	plain, able := h264Node(), h264Node()
	able.controls = map[uint32]queryControl{
		cidForceKey: {Type: ctrlTypeButton}, cidBitrate: {Type: ctrlTypeInteger, Min: 25_000, Max: 10_000_000, Default: 1_000_000},
		cidH264IPeriod: {Type: ctrlTypeInteger, Min: 0, Max: 600, Default: 60}, cidHFlip: {Type: ctrlTypeBoolean, Max: 1},
		cidBrightness: {Type: ctrlTypeInteger, Max: 100, Flags: ctrlDisabled},
		cidContrast:   {Type: ctrlTypeInteger, Max: 100, Flags: ctrlReadOnly},
		cidSharpness:  {Type: ctrlTypeInteger, Min: 5, Max: 5},
		cidColorFX:    {Type: ctrlTypeMenu, Max: 15}, cidPowerLine: {Type: ctrlTypeMenu, Max: 3, Default: 3},
	}
	able.menus = map[uint32][]uint32{cidColorFX: {0, 2}, cidPowerLine: {1, 2, 3}} // no black and white; not to be switched off
	k := newFake(map[string]*fakeNode{dev0: plain, "/dev/video1": able})
	c := hal.NewCamera(fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0)))
	for _, name := range []string{hal.CapImage, hal.CapSnapshot} {
		if x, has := c.Capability(name); has {
			t.Errorf("a plain device has %s", x)
		}
	}
	if x, _ := c.Capability(hal.CapKeyframe); x.By != "restart" {
		t.Errorf("a plain device has %+v", x)
	}
	b := fakeBoard(t, k, finder{k, "", ""}, mainOf("/dev/video1"))
	want := hal.StreamInfo{
		Name: "main", FPS: hal.Range{Min: 10, Max: 30}, GOP: hal.Range{Min: 1, Max: 600}, Bitrate: hal.Range{Min: 25_000, Max: 10_000_000},
		Default: hal.VideoConfig{Width: 64, Height: 48, FPS: 25, GOP: 60, Bitrate: 1_000_000}, Reopens: true,
	}
	if is := b.Streams()[0]; is != want {
		t.Errorf("is %+v, want %+v", is, want)
	}
	list := b.picture.ImageControls()
	if len(list) != 2 || list[0].ID != "mirror" || list[1] != (hal.Control{ID: "antiflicker", Range: hal.Range{Min: 50, Max: 60}}) {
		t.Errorf("%+v", list)
	}
	if is, err := b.picture.SetImageControl("antiflicker", 60); is != 60 || err != nil || able.values[cidPowerLine] != 2 {
		t.Errorf("%d, %v, the driver has %d", is, err, able.values[cidPowerLine])
	}
	v := openFake(t, b)
	is, err := tuner{b}.Tune("main", hal.VideoConfig{Bitrate: 400_000, GOP: 30, FPS: 12})
	if err != nil || is != (hal.VideoConfig{Width: 64, Height: 48, FPS: 12, GOP: 30, Bitrate: 400_000}) || v.Config() != is {
		t.Errorf("%+v, %v, Config %+v", is, err, v.Config())
	}
	if err := (keys{b}).RequestKeyframe("main"); err != nil || able.keys != 1 || able.starts != 2 {
		t.Errorf("%v, %d key frames, %d starts", err, able.keys, able.starts)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	locked := h264Node()
	locked.openErr = unix.EACCES
	busy := h264Node()
	busy.openErr = unix.EBUSY
	raw := &fakeNode{card: "Raw camera", caps: capVideoCapture | capStreaming, formats: []fourCC{fmtYUYV, fmtMJPG}}
	codec := &fakeNode{card: "codec", caps: capM2MMplane | capStreaming}
	slow := h264Node()
	slow.caps = capVideoCapture
	liar := h264Node()
	liar.refuse = map[uintptr]error{calls.tryFmt: unix.EINVAL}
	k := newFake(map[string]*fakeNode{dev0: h264Node(), "/dev/locked": locked, "/dev/busy": busy, "/dev/raw": raw, "/dev/codec": codec, "/dev/slow": slow, "/dev/liar": liar})
	for _, c := range []struct {
		config Config
		want   error
		text   string
	}{
		{mainOf("/dev/none"), hal.ErrNotFound, "/dev/v4l/by-id"},
		{mainOf("/dev/locked"), fs.ErrPermission, "member of group"},
		{mainOf("/dev/busy"), hal.ErrBusy, "fuser -v /dev/busy"},
		{mainOf("/dev/raw"), hal.ErrArgument, "gives YUYV, MJPG, want one that gives H264"},
		{mainOf("/dev/codec"), hal.ErrArgument, "memory to memory"},
		{mainOf("/dev/slow"), hal.ErrArgument, "only be read"},
		{mainOf("/dev/liar"), hal.ErrArgument, "offers YUYV, H264"},
		{mainOf("usb:12:34"), hal.ErrArgument, "usb:VVVV:PPPP"},
		{mainOf("usb:1234:5678"), hal.ErrNotFound, "lsusb"},
		{mainOf(""), hal.ErrArgument, "no device"},
		{Config{}, hal.ErrArgument, "no source for stream"},
		{Config{Sources: []Source{{Stream: "third", Device: dev0}}}, hal.ErrArgument, `want "main" or "sub"`},
		{Config{Sources: []Source{{Stream: "main", Device: dev0, FPS: -1}}}, hal.ErrArgument, "negative"},
		{Config{Sources: []Source{{Stream: "main", Device: dev0}, {Stream: "sub", Device: dev0}}}, hal.ErrArgument, `that of stream "main"`},
		{Config{Sources: []Source{{Stream: "main", Device: dev0}, {Stream: "main", Device: dev0}}}, hal.ErrArgument, "two sources"},
		{Config{Sources: mainOf(dev0).Sources, Still: dev0}, hal.ErrArgument, "another node of the camera"},
		{Config{Sources: mainOf(dev0).Sources, Still: "/dev/codec"}, hal.ErrArgument, "still pictures"},
	} {
		b, err := newBoard(c.config, finder{k, "", ""})
		if b != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.text)
		}
		if err != nil && strings.Count(err.Error(), "\n") > 0 && len(c.config.Sources) == 1 && c.config.Sources[0].Stream == "main" {
			t.Errorf("%+v: more than one line: %v", c.config, err)
		}
	}
	if len(k.fds) > 0 {
		t.Errorf("%d devices were left open", len(k.fds))
	}
}

// What a device refuses of a wish is not to keep the stream from starting.
func TestRefusedWishesAreAdjusted(t *testing.T) {
	t.Parallel()
	n := h264Node()
	n.controls = map[uint32]queryControl{cidBitrate: {Type: ctrlTypeInteger, Min: 1, Max: 100, Default: 50}}
	n.refuse = map[uintptr]error{calls.sParm: unix.EINVAL, calls.sCtrl: unix.EIO}
	k := newFake(map[string]*fakeNode{dev0: n})
	v, err := fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0)).OpenVideo(t.Context(), "main", hal.VideoConfig{FPS: 12, Bitrate: 80, Width: 333, Height: 77})
	if err != nil {
		t.Fatal(err)
	}
	if is := v.Config(); is != (hal.VideoConfig{Width: 64, Height: 48, FPS: 25, Bitrate: 50}) {
		t.Errorf("%+v", is)
	}
}

func TestBusyAtTheStart(t *testing.T) {
	t.Parallel()
	for _, call := range []uintptr{calls.sFmt, calls.reqbufs, calls.streamOn} {
		k := newFake(map[string]*fakeNode{dev0: h264Node()})
		b := fakeBoard(t, k, finder{k, "", ""}, mainOf(dev0))
		k.nodes[dev0].refuse = map[uintptr]error{call: unix.EBUSY}
		if _, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{}); !errors.Is(err, hal.ErrBusy) {
			t.Errorf("%#x: %v", call, err)
		}
		k.nodes[dev0].refuse = nil
		v := openFake(t, b)
		if _, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{}); !errors.Is(err, hal.ErrBusy) {
			t.Errorf("twice: %v", err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A camera is found again under another number, by what it is and not by where.
func TestR4_CameraComesBackElsewhere(t *testing.T) {
	t.Parallel()
	for _, byID := range []bool{false, true} {
		s := newSysfs(t)
		k := newFake(map[string]*fakeNode{s.node("video0"): h264Node(), s.node("video2"): h264Node()})
		s.plug(t, "video0", "1-1", "0001", "ours", nil)
		name := s.node("video0")
		if byID {
			name = "usb:1209:0001"
		}
		b := fakeBoard(t, k, s.finder(k), mainOf(name))
		s.unplug(t, "video0")
		k.pull(s.node("video0"))
		if _, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{}); !errors.Is(err, hal.ErrGone) {
			t.Errorf("away: %v", err)
		}
		k.look(func() { k.nodes[s.node("video0")] = h264Node(); k.nodes[s.node("video0")].width = 640 })
		s.plug(t, "video0", "1-2", "0002", "other", nil) // which takes the number
		s.plug(t, "video2", "1-3", "0001", "ours", nil)
		v := openFake(t, b)
		if path := v.(*stream).q.d.path; path != s.node("video2") {
			t.Errorf("by id %v: %s was opened", byID, path)
		}
	}
}
