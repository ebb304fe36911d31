package alsa

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

// fakeCard is a system with one sound card, whose devices tests script. File
// descriptors are real ones, eventfds, so that waiting for them is real too.
type fakeCard struct {
	mu       sync.Mutex
	openErr  error
	rates    []int
	channels []int
	gone     bool

	fds     map[int]bool
	rate    int
	samples []int16 // to be captured
	xrun    bool
	empty   int // times that somebody asked for samples in vain
	starts  int
	played  []int16
	queued  int
}

func (k *fakeCard) open(string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.openErr != nil {
		return -1, k.openErr
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if k.fds == nil {
		k.fds = map[int]bool{}
	}
	k.fds[fd] = true
	return fd, err
}

func (k *fakeCard) close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fds, fd)
	return unix.Close(fd)
}

func (k *fakeCard) ioctl(fd int, number uintptr, arg unsafe.Pointer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return unix.ENODEV
	}
	switch number {
	case calls.refine, calls.hwParams:
		return k.parameters((*hwParams)(arg))
	case calls.delay:
		*(*int)(arg) = k.queued
	case calls.start:
		k.starts++
	case calls.prepare:
		k.xrun, k.queued = false, 0
	case calls.get:
		return k.get((*transfer)(arg), fd)
	case calls.put:
		x := (*transfer)(arg)
		if k.xrun {
			return unix.EPIPE
		}
		k.played = append(k.played, unsafe.Slice(x.Buffer, x.Frames)...)
		x.Result = int(x.Frames)
		k.queued += x.Result
	}
	return nil
}

func (k *fakeCard) parameters(h *hwParams) error {
	choose := func(param int, have []int) bool {
		in := h.Intervals[param]
		have = slices.DeleteFunc(slices.Clone(have), func(v int) bool { return uint32(v) < in.Min || uint32(v) > in.Max })
		if len(have) > 0 {
			h.bound(param, slices.Min(have), slices.Max(have))
		}
		return len(have) > 0
	}
	if h.Masks[maskFormat][0]&formatS16LE == 0 || !choose(paramRate, k.rates) || !choose(paramChannels, k.channels) {
		return unix.EINVAL
	}
	k.rate = int(h.Intervals[paramRate].Min)
	h.bound(paramPeriodSize, k.rate/50, k.rate/50)
	h.bound(paramBufferSize, k.rate/2, k.rate/2)
	return nil
}

func (k *fakeCard) get(x *transfer, fd int) error {
	if k.xrun {
		return unix.EPIPE
	}
	if len(k.samples) == 0 {
		var count [8]byte
		_, _ = unix.Read(fd, count[:])
		k.empty++
		return unix.EAGAIN
	}
	channels := k.channels[0]
	n := copy(unsafe.Slice(x.Buffer, int(x.Frames)*channels), k.samples)
	k.samples = k.samples[n:]
	x.Result = n / channels
	return nil
}

// hear gives samples to capture.
func (k *fakeCard) hear(s ...int16) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.samples = append(k.samples, s...)
	k.wake()
}

// wake makes all descriptors ready. With mu held.
func (k *fakeCard) wake() {
	for fd := range k.fds {
		_, _ = unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// waited waits until somebody asks for samples in vain, and then waits for them.
func (k *fakeCard) waited(since int) {
	for is := since; is <= since; runtime.Gosched() {
		k.look(func() { is = k.empty })
	}
}

func (k *fakeCard) look(f func()) { k.mu.Lock(); defer k.mu.Unlock(); f() }
func (k *fakeCard) set(f func())  { k.mu.Lock(); defer k.mu.Unlock(); f(); k.wake() }

// folders are what the kernel lists of cards 0 "Other" and 3 "Cam".
func folders(t *testing.T, k *fakeCard) finder {
	t.Helper()
	root := t.TempDir()
	f := finder{k, filepath.Join(root, "asound"), filepath.Join(root, "snd")}
	errs := []error{os.MkdirAll(f.dev, 0o755)}
	for n, id := range map[int]string{0: "Other", 3: "Cam"} {
		dir := filepath.Join(f.proc, fmt.Sprintf("card%d", n))
		errs = append(errs, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "id"), []byte(id+"\n"), 0o644))
		for _, d := range "cp" {
			errs = append(errs, os.WriteFile(filepath.Join(f.dev, fmt.Sprintf("pcmC%dD1%c", n, d)), nil, 0o644))
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := folders(t, &fakeCard{})
	for name, want := range map[string]string{"hw:3,1": "pcmC3D1c", "hw:Cam,1": "pcmC3D1c", "hw:Other,1": "pcmC0D1c", f.dev + "/pcmC0D1c": "pcmC0D1c"} {
		if path, err := f.path(name, capture); err != nil || filepath.Base(path) != want {
			t.Errorf("%s: %s, %v, want %s", name, path, err, want)
		}
	}
	for _, c := range []struct {
		name string
		want error
		text string
	}{
		{"hw:Cam", hal.ErrNotFound, "no microphone 0"}, {"hw:9,1", hal.ErrNotFound, "no microphone 1"},
		{"hw:Nobody", hal.ErrNotFound, "there are: Other, Cam"}, {"hw:../x", hal.ErrArgument, "hw:CARD,DEVICE"}, {"hw:3,1,1", hal.ErrArgument, "hw:CARD,DEVICE"},
		{f.dev + "/pcmC0D1p", hal.ErrArgument, "the other direction"}, {f.proc, hal.ErrArgument, "no sound device"}, {f.dev + "/pcmC9D0c", hal.ErrNotFound, "hw:0,0"},
		{"default", hal.ErrArgument, "hw:CARD,DEVICE"}, {"plughw:0", hal.ErrArgument, "hw:CARD,DEVICE"},
	} {
		if path, err := f.path(c.name, capture); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %q, %v, want %q", c.name, path, err, c.text)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		card *fakeCard
		want error
		text string
	}{
		{&fakeCard{openErr: unix.EACCES}, fs.ErrPermission, "member of group"},
		{&fakeCard{openErr: unix.EBUSY}, hal.ErrBusy, "fuser -v"},
		{&fakeCard{openErr: unix.EAGAIN}, hal.ErrBusy, "fuser -v"},
		{&fakeCard{openErr: unix.ENODEV}, hal.ErrGone, "gone"},
		{&fakeCard{rates: []int{192000}, channels: []int{2}}, hal.ErrArgument, "at 192000 to 192000 Hz, 2 to 2 channels, want S16_LE"},
	} {
		f := folders(t, c.card)
		s, err := newSound(Config{Speaker: "hw:Cam,1"}, f)
		if s != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.HasPrefix(err.Error(), "speaker: ") {
			t.Errorf("%v, want %q", err, c.text)
		}
		if len(c.card.fds) > 0 {
			t.Errorf("%q: a device was left open", c.text)
		}
	}
	if _, err := newSound(Config{}, finder{}); !errors.Is(err, hal.ErrArgument) {
		t.Error(err)
	}
}

func listen(t *testing.T, k *fakeCard) *listener {
	t.Helper()
	s, err := newSound(Config{Microphone: "hw:Cam,1"}, folders(t, k))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := hal.As[hal.Microphone](s)
	if _, has := hal.As[hal.Speaker](s); has {
		t.Error("a speaker that is not configured")
	}
	a, err := m.OpenMicrophone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := m.OpenMicrophone(context.Background()); !errors.Is(err, hal.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if len(k.fds) > 0 {
			t.Error("a device was left open")
		}
	})
	return a.(*listener)
}

func TestMicrophoneTakesWhatTheDeviceHas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rates, channels []int
		device, out     int
	}{
		{[]int{8000, 16000, 48000}, []int{1, 2}, 16000, 16000},
		{[]int{8000, 44100}, []int{2}, 8000, 8000},
		{[]int{44100, 48000}, []int{2}, 48000, 16000},
		{[]int{11025}, []int{1}, 11025, 8000},
		{[]int{44100}, []int{6}, 44100, 16000},
	} {
		k := &fakeCard{rates: c.rates, channels: c.channels}
		l := listen(t, k)
		want := hal.AudioFormat{Codec: hal.L16, Rate: c.out, Channels: 1}
		if f := l.Format(); !f.Same(&want) || l.pcm.rate != c.device || l.pcm.channels != c.channels[0] {
			t.Errorf("%+v: %+v of a device at %d Hz with %d channels", c, f, l.pcm.rate, l.pcm.channels)
		}
	}
}

func TestM1_Microphone(t *testing.T) {
	t.Parallel()
	k := &fakeCard{rates: []int{16000}, channels: []int{2}}
	l := listen(t, k)
	type result struct {
		f   hal.AudioFrame
		err error
	}
	next := func(ctx context.Context) chan result {
		done, before := make(chan result, 1), 0
		k.look(func() { before = k.empty })
		go func() { f, err := l.Next(ctx); done <- result{f, err} }()
		if !k.xrun && !k.gone {
			k.waited(before)
		}
		return done
	}
	done := next(t.Context())
	for range 4 { // piece by piece
		k.hear(slices.Repeat([]int16{100, 300}, 80)...)
	}
	r := <-done
	if r.err != nil || r.f.Samples != 320 || string(r.f.Data[:4]) != "\x00\xc8\x00\xc8" || len(r.f.Data) != 640 {
		t.Errorf("%d samples, %x…, %v", r.f.Samples, r.f.Data[:min(4, len(r.f.Data))], r.err)
	}
	done = next(t.Context())
	k.hear(make([]int16, 100)...) // of which nothing comes
	for left := 1; left > 0; runtime.Gosched() {
		k.look(func() { left = len(k.samples) })
	}
	k.set(func() { k.xrun = true })
	for started := 1; started < 2; runtime.Gosched() {
		k.look(func() { started = k.starts })
	}
	k.hear(make([]int16, 640)...)
	if r := <-done; r.err != nil || l.xruns.Load() != 1 || len(k.samples) > 0 {
		t.Errorf("after a loss: %v, %d counted, %d samples are left", r.err, l.xruns.Load(), len(k.samples))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done = next(ctx)
	cancel()
	if r := <-done; !errors.Is(r.err, context.Canceled) {
		t.Errorf("cancelled: %v", r.err)
	}
	done = next(t.Context())
	k.set(func() { k.gone = true })
	if r := <-done; !errors.Is(r.err, hal.ErrGone) {
		t.Errorf("pulled: %v", r.err)
	}
	if r := <-next(t.Context()); !errors.Is(r.err, hal.ErrGone) {
		t.Errorf("pulled, once more: %v", r.err)
	}
}

func TestMicrophoneCloseEndsNext(t *testing.T) {
	t.Parallel()
	k := &fakeCard{rates: []int{8000}, channels: []int{1}}
	l := listen(t, k)
	done := make(chan error, 1)
	go func() { _, err := l.Next(t.Context()); done <- err }()
	k.waited(0)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, hal.ErrClosed) {
		t.Error(err)
	}
	if _, err := l.Next(t.Context()); !errors.Is(err, hal.ErrClosed) {
		t.Error(err)
	}
}

func TestM1_SpeakerHoldsNoMoreThanItShould(t *testing.T) {
	t.Parallel()
	k := &fakeCard{rates: []int{8000}, channels: []int{1}}
	s, err := newSound(Config{Speaker: "hw:Cam,1"}, folders(t, k))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	part, _ := hal.As[hal.Speaker](s)
	p, err := part.OpenSpeaker(t.Context(), hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	frame := hal.AudioFrame{Data: slices.Repeat([]byte{0x80}, 160), Samples: 160}
	for range 8 { // 160 ms, upon a cushion of 40
		if err := p.Write(t.Context(), frame); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Write(ctx, frame); !errors.Is(err, context.DeadlineExceeded) { // nothing is played meanwhile
		t.Errorf("%v with %d in the device", err, k.queued)
	}
	if len(k.played) != 320+8*160 || k.played[319] != 0 || k.played[320] != 32124 {
		t.Errorf("%d samples, want the cushion and 8 frames", len(k.played))
	}
	k.set(func() { k.xrun, k.queued = true, 0 })
	if err := p.Write(t.Context(), frame); err != nil || p.(*talker).xruns.Load() != 1 {
		t.Errorf("after a pause: %v", err)
	}
	done := make(chan error, 1)
	k.set(func() { k.queued = 1600 })
	go func() { done <- p.Write(t.Context(), frame) }()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, hal.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := &clock{rate: 8000}
	first := c.next(now, 160, 80)
	if d := now.Sub(first); d != 30*time.Millisecond {
		t.Errorf("the first sample is %v old, want 30ms", d)
	}
	last := first
	for i := range 1000 { // a device that is 100 ppm slow, and fetched unevenly
		now = now.Add(20*time.Millisecond + 2*time.Microsecond)
		jitter := time.Duration(i%3) * 5 * time.Millisecond
		at := c.next(now.Add(jitter), 160, 80)
		if step := at.Sub(last); step < 19*time.Millisecond || step > 21*time.Millisecond {
			t.Fatalf("frame %d: %v after the last", i, step)
		}
		last = at
	}
	if off := now.Sub(last) - 30*time.Millisecond; off.Abs() > 11*time.Millisecond {
		t.Errorf("it is %v off", off)
	}
	now = now.Add(time.Second) // samples were lost
	if at := c.next(now, 160, 80); now.Sub(at) != 30*time.Millisecond {
		t.Errorf("after a loss the first sample is %v old", now.Sub(at))
	}
	if at := c.next(now.Add(-time.Minute), 160, 80); !at.After(last) {
		t.Error("time went back")
	}
}
