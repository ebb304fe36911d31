package peripheral

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

const long = bits.UintSize / 8

// inputEvent is a struct input_event of now.
func inputEvent(typ, code uint16, value int32) []byte {
	b := make([]byte, 2*long+8)
	now := time.Now()
	put := func(to []byte, v int64) {
		if long == 4 {
			binary.NativeEndian.PutUint32(to, uint32(v))
		} else {
			binary.NativeEndian.PutUint64(to, uint64(v))
		}
	}
	put(b, now.Unix())
	put(b[long:], int64(now.Nanosecond()/1000))
	binary.NativeEndian.PutUint16(b[2*long:], typ)
	binary.NativeEndian.PutUint16(b[2*long+2:], code)
	binary.NativeEndian.PutUint32(b[2*long+4:], uint32(value))
	return b
}

// keymap is a bitmap as sysfs prints it.
func keymap(codes ...int) string {
	words := make([]uint, 768/bits.UintSize)
	for _, c := range codes {
		words[c/bits.UintSize] |= 1 << (c % bits.UintSize)
	}
	text, begun := "", false
	for i := len(words) - 1; i >= 0; i-- {
		if begun = begun || words[i] != 0; begun {
			text += fmt.Sprintf("%x ", words[i])
		}
	}
	return text + "\n"
}

// inputs makes an input device whose file is a FIFO.
func inputs(t testing.TB, root, event, name string, codes ...int) {
	t.Helper()
	put(t, root, "sys/class/input/"+event+"/device/name", name+"\n")
	put(t, root, "sys/class/input/"+event+"/device/capabilities/key", keymap(codes...))
	put(t, root, "dev/input/.keep", "")
	if err := syscall.Mkfifo(filepath.Join(root, "dev/input", event), 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyboard opens the world's end of an input device.
func keyboard(t testing.TB, root, event string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "dev/input", event), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func press(t testing.TB, f *os.File, code uint16, values ...int32) {
	t.Helper()
	for _, v := range values {
		if _, err := f.Write(append(inputEvent(1, code, v), inputEvent(0, 0, 0)...)); err != nil {
			t.Fatal(err)
		}
	}
}

// limit ends a test that hangs.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func next(t *testing.T, b hal.Buttons, button string, pressed bool) hal.ButtonEvent {
	t.Helper()
	e, err := b.NextButton(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(e.Time); e.Button != button || e.Pressed != pressed || age < 0 || age > 10*time.Second {
		t.Fatalf("%+v, %v ago; want %s, pressed %v, just now", e, age, button, pressed)
	}
	return e
}

func TestM13_ButtonsOfAnInputDevice(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	inputs(t, root, "event2", "Power Button", 116)
	inputs(t, root, "event10", "gpio-keys", 0x198, 0x211, 30)
	s := opened(t, Config{Root: root, Buttons: []Button{
		{Button: "reset", Key: "KEY_RESTART"}, {Button: "wps", Key: "0x211", Device: "gpio-keys"}, {Button: "power", Key: "KEY_POWER", Device: "event2"}}})
	b := part[hal.Buttons](t, s)
	if got := fmt.Sprint(b.Buttons()); got != "[reset wps power]" {
		t.Fatal(got)
	}
	keys, power := keyboard(t, root, "event10"), keyboard(t, root, "event2")
	press(t, keys, 30, 1, 0)       // nobody's
	press(t, keys, 0x198, 0)       // was held before we came
	press(t, keys, 0x198, 1, 2, 2) // repeats
	down := next(t, b, "reset", true)
	press(t, power, 116, 1)
	next(t, b, "power", true)
	press(t, keys, 0x198, 0)
	if up := next(t, b, "reset", false); !up.Time.After(down.Time) {
		t.Error("it was released before it was pressed")
	}
	press(t, keys, 0x211, 1)
	next(t, b, "wps", true)
}

func TestM13_ButtonOnALineIsDebounced(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "3")
	s := opened(t, Config{Root: root, Buttons: []Button{{Button: "doorbell", Line: "3", Debounce: 30 * time.Millisecond}}})
	b := part[hal.Buttons](t, s)
	for _, level := range "101" {
		set(t, root, "3", byte(level))
	}
	down := next(t, b, "doorbell", true)
	if since := time.Since(down.Time); since < 30*time.Millisecond {
		t.Errorf("told after %v, before the line was still", since)
	}
	set(t, root, "3", '0')
	next(t, b, "doorbell", false)
}

func TestM13_DebouncerTellsWhatLasted(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	after := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	d := debouncer{still: 20 * time.Millisecond}
	if _, ok := d.due(); ok {
		t.Fatal("due before anything happened")
	}
	for _, ms := range []int{0, 5, 9, 12} {
		d.edge(after(ms))
	}
	if at, ok := d.due(); !ok || !at.Equal(after(32)) {
		t.Fatal("due at", at.Sub(begin), ok)
	}
	if d.settle(true, after(31)) {
		t.Fatal("told before it was still")
	}
	if !d.settle(true, after(32)) || !d.state || !d.first.Equal(begin) {
		t.Fatalf("not told, or not of its first edge: %+v", d)
	}
	d.edge(after(100)) // a spark: the level is the old one
	if d.settle(true, after(120)) {
		t.Fatal("a spark was told")
	}
	if _, ok := d.due(); ok {
		t.Fatal("due after it settled")
	}
}

func TestM13_NextButtonIsEndedByContextAndClose(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	inputs(t, root, "event0", "gpio-keys", 0x198)
	s := opened(t, Config{Root: root, Buttons: []Button{{Button: "reset", Key: "KEY_RESTART"}}})
	b := part[hal.Buttons](t, s)
	keys := keyboard(t, root, "event0")
	ended := make(chan error)
	wait := func(ctx context.Context) {
		go func() {
			_, err := b.NextButton(ctx)
			ended <- err
		}()
	}
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		wait(ctx)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	within, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wait(within) // ends within poll, not before it
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	press(t, keys, 0x198, 1) // nothing is lost by a cancel
	next(t, b, "reset", true)
	wait(t.Context())
	select {
	case err := <-ended:
		t.Fatal("ended by itself:", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	errtest.Says(t, <-ended, hal.ErrClosed, "buttons")
	_, err := b.NextButton(t.Context())
	errtest.Says(t, err, hal.ErrClosed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestR4_UnpluggedButtonsAreToldOnceAndComeBack(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "3")
	inputs(t, root, "event0", "keypad", 0x198)
	s := opened(t, Config{Root: root, Buttons: []Button{{Button: "reset", Key: "KEY_RESTART"}, {Button: "doorbell", Line: "3"}}})
	b := part[hal.Buttons](t, s)
	keys := keyboard(t, root, "event0")
	press(t, keys, 0x198, 1)
	next(t, b, "reset", true)
	remove(t, root, "sys/class/input/event0")
	remove(t, root, "dev/input/event0")
	_ = keys.Close()
	_, err := b.NextButton(limit(t))
	errtest.Says(t, err, hal.ErrGone, "event0")
	set(t, root, "3", '1') // the other button works on
	next(t, b, "doorbell", true)
	inputs(t, root, "event1", "keypad", 0x198)
	pressed := make(chan *os.File)
	go func() {
		back := keyboard(t, root, "event1") // once it was opened for reading
		press(t, back, 0x198, 1, 0)
		pressed <- back
	}()
	next(t, b, "reset", true)
	next(t, b, "reset", false)
	<-pressed
}

func TestR4_OnlyButtonThatIsGoneIsLookedForAtEveryCall(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	inputs(t, root, "event0", "keypad", 0x198)
	b := part[hal.Buttons](t, opened(t, Config{Root: root, Buttons: []Button{{Button: "reset", Key: "KEY_RESTART"}}}))
	_ = keyboard(t, root, "event0").Close()
	remove(t, root, "sys/class/input/event0")
	for range 3 {
		_, err := b.NextButton(limit(t))
		errtest.Says(t, err, hal.ErrGone)
	}
	inputs(t, root, "event7", "keypad", 0x198)
	ready := make(chan *os.File)
	go func() { ready <- keyboard(t, root, "event7") }()
	events := make(chan hal.ButtonEvent)
	go func() {
		e, err := b.NextButton(limit(t))
		if err != nil {
			t.Error(err)
		}
		events <- e
	}()
	press(t, <-ready, 0x198, 1)
	if e := <-events; e.Button != "reset" || !e.Pressed {
		t.Errorf("%+v", e)
	}
}

func TestR4_ReleaseNeverStandsBeforeItsPress(t *testing.T) {
	t.Parallel()
	p, at := &place{}, time.Now()
	for _, events := range [][]hal.ButtonEvent{
		{{Pressed: true, Time: at}, {Time: at.Add(-time.Microsecond)}},
		{{Pressed: true, Time: at.Add(-time.Millisecond)}, {Time: at.Add(time.Second)}},
	} {
		p.inOrder(events)
		if !events[0].Time.Equal(at) || events[1].Time.Before(at) {
			t.Errorf("%+v", events)
		}
	}
}
