//go:build vm

package peripheral

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/internal/errtest"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// These tests run in a virtual machine with the modules uinput, evdev and
// ledtrig-timer: input devices and LEDs behind the kernel's own drivers, and
// the PL061 GPIO chip that the machine has. They are not parallel: the machine
// has one of each.

const (
	evKey, evLED    = 1, 0x11
	keyRestart      = 0x198
	keyWPS          = 0x211
	ledCaps         = 1
	uiSetEvBit      = 0x40045564
	uiSetKeyBit     = 0x40045565
	uiSetLEDBit     = 0x40045569
	uiDevSetup      = 0x405c5503
	uiDevCreate     = 0x5501
	uiDevDestroy    = 0x5502
	uiGetSysname    = 0x8020552c // 32 bytes
	uinputSetupSize = 92
)

// panel is a board's keys and LED: a device of uinput.
type panel struct {
	t    *testing.T
	fd   int
	name string // inputN
}

func plug(t *testing.T, name string) *panel {
	t.Helper()
	fd, err := unix.Open("/dev/uinput", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("/dev/uinput: %v: is the module uinput in the machine?", err)
	}
	p := &panel{t: t, fd: fd}
	t.Cleanup(p.unplug)
	for _, r := range [][2]uint{{uiSetEvBit, evKey}, {uiSetKeyBit, keyRestart}, {uiSetKeyBit, keyWPS}, {uiSetEvBit, evLED}, {uiSetLEDBit, ledCaps}} {
		if err := unix.IoctlSetInt(fd, r[0], int(r[1])); err != nil {
			t.Fatal(err)
		}
	}
	var setup [uinputSetupSize]byte
	copy(setup[8:], name)
	p.ioctl(uiDevSetup, unsafe.Pointer(&setup))
	p.ioctl(uiDevCreate, nil)
	var sysname [32]byte
	p.ioctl(uiGetSysname, unsafe.Pointer(&sysname))
	p.name, _, _ = strings.Cut(string(sysname[:]), "\x00")
	return p
}

func (p *panel) ioctl(request uint, arg unsafe.Pointer) {
	p.t.Helper()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), uintptr(request), uintptr(arg)); e != 0 {
		p.t.Fatalf("uinput request %#x: %v", request, e)
	}
}

func (p *panel) unplug() {
	if p.fd >= 0 {
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), uiDevDestroy, 0)
		_ = unix.Close(p.fd)
	}
	p.fd = -1
}

func (p *panel) key(code uint16, values ...int32) {
	p.t.Helper()
	for _, v := range values {
		if _, err := unix.Write(p.fd, append(inputEvent(evKey, code, v), inputEvent(0, 0, 0)...)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// lit waits until the LED changes, and tells to what.
func (p *panel) lit() bool {
	p.t.Helper()
	size := 2*long + 8
	b := make([]byte, size)
	for {
		poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 10_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			p.t.Fatal("the LED does not change:", err)
		}
		if n, err := unix.Read(p.fd, b); err != nil || n != size {
			p.t.Fatal(n, err)
		}
		if binary.NativeEndian.Uint16(b[2*long:]) == evLED {
			return b[2*long+4] != 0
		}
	}
}

func reset(device string) Config {
	return Config{Buttons: []Button{{Button: "reset", Key: "KEY_RESTART", Device: device}, {Button: "wps", Key: "KEY_WPS_BUTTON", Device: device}}}
}

func TestM13_VM_ButtonOfAnInputDevice(t *testing.T) {
	p := plug(t, "gpio-keys")
	p.key(keyWPS, 1) // is held when we come
	b := part[hal.Buttons](t, opened(t, reset("")))
	p.key(keyWPS, 0)
	began := time.Now()
	p.key(keyRestart, 1)
	down := next(t, b, "reset", true)
	<-time.After(120 * time.Millisecond) // the finger
	p.key(keyRestart, 0)
	up := next(t, b, "reset", false)
	if late := down.Time.Sub(began); late < -time.Millisecond || late > 100*time.Millisecond {
		t.Errorf("pressed %v after it was pressed", late)
	}
	if held := up.Time.Sub(down.Time); held < 119*time.Millisecond || held > 400*time.Millisecond {
		t.Errorf("held for %v, want 120ms", held)
	}
	p.key(keyWPS, 1)
	next(t, b, "wps", true)
}

func TestR4_VM_ButtonsThatNobodyReadMakeUpForWhatTheKernelDropped(t *testing.T) {
	p := plug(t, "gpio-keys")
	b := part[hal.Buttons](t, opened(t, reset("gpio-keys")))
	for range 2000 { // more than the kernel keeps
		p.key(keyRestart, 1, 0)
	}
	p.key(keyWPS, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for last := map[string]bool{}; !last["wps"]; {
		e, err := b.NextButton(ctx)
		if err != nil {
			t.Fatal(err, last)
		}
		if last[e.Button] == e.Pressed {
			t.Fatalf("%s is pressed %v twice", e.Button, e.Pressed)
		}
		if last[e.Button] = e.Pressed; e.Button == "wps" && last["reset"] {
			t.Fatal("reset is thought to be held")
		}
	}
}

func TestR4_VM_UnpluggedButtonsComeBack(t *testing.T) {
	p := plug(t, "gpio-keys")
	b := part[hal.Buttons](t, opened(t, reset("gpio-keys")))
	ended := make(chan error)
	go func() {
		_, err := b.NextButton(t.Context())
		ended <- err
	}()
	p.unplug()
	errtest.Says(t, <-ended, hal.ErrGone, "event")
	_, err := b.NextButton(t.Context())
	errtest.Says(t, err, hal.ErrGone, "gpio-keys")
	back := plug(t, "gpio-keys")
	pressed := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.NextButton(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("the device is there:", err)
	}
	go func() { back.key(keyRestart, 1); close(pressed) }()
	next(t, b, "reset", true)
	<-pressed
}

func TestM13_VM_LED(t *testing.T) {
	p := plug(t, "gpio-keys")
	class := p.name + "::capslock"
	s := opened(t, Config{LEDs: []LED{{LED: "status", Class: class}}})
	l := part[hal.LEDs](t, s)
	show := func(on, off time.Duration) {
		t.Helper()
		if err := l.SetLED("status", hal.Pattern{On: on, Off: off}); err != nil {
			t.Fatal(err)
		}
	}
	show(time.Second, 0)
	if !p.lit() {
		t.Fatal("dark")
	}
	show(0, 0)
	if p.lit() {
		t.Fatal("lit")
	}
	show(50*time.Millisecond, 150*time.Millisecond)
	trigger, err := sysfs.Read(filepath.Join("/sys/class/leds", class, "trigger"))
	if err != nil || !strings.Contains(trigger, "[timer]") {
		t.Fatalf("the kernel does not blink: %s, %v; is the module ledtrig-timer in the machine?", trigger, err)
	}
	for began := time.Now(); time.Since(began) < 40*time.Millisecond; { // events of before come at once
		began = time.Now()
		p.lit()
	}
	var spans []time.Duration
	var sum time.Duration
	for last := time.Now(); len(spans) < 6; last = last.Add(spans[len(spans)-1]) {
		p.lit()
		spans = append(spans, time.Since(last))
		sum += time.Since(last)
	}
	if sum < 500*time.Millisecond || sum > 1200*time.Millisecond {
		t.Errorf("three turns of 200ms took %v: %v", sum, spans)
	}
	show(1, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := sysfs.Read(filepath.Join("/sys/class/leds", class, "brightness")); err != nil || b != "0" {
		t.Error("after Close:", b, err)
	}
	p.unplug()
	_, err = New(Config{LEDs: []LED{{LED: "status", Class: class}}})
	errtest.Says(t, err, hal.ErrNotFound, "peripherals.leds[0].class", class)
}

// pl061 is the chip's registers, through which the world moves its pins.
type pl061 struct{ registers []byte }

const (
	pl061At        = 0x0903_0000
	pl061Direction = 0x400
)

func pins(t *testing.T) pl061 {
	t.Helper()
	f, err := os.OpenFile("/dev/mem", os.O_RDWR|unix.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), pl061At, 0x1000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("the GPIO chip's registers: %v: is the machine's kernel started with iomem=relaxed?", err)
	}
	t.Cleanup(func() { _ = unix.Munmap(m) })
	return pl061{m}
}

func (p pl061) register(at int) *uint32 { return (*uint32)(unsafe.Pointer(&p.registers[at])) }

// move drives an input from outside: QEMU's chip keeps the level that a line
// had as an output, and raises its interrupt when it is an input again.
func (p pl061) move(line int, high bool) {
	bit := uint32(1) << line
	level := uint32(0)
	if high {
		level = bit
	}
	direction := p.register(pl061Direction)
	atomic.StoreUint32(direction, atomic.LoadUint32(direction)|bit)
	atomic.StoreUint32(p.register(int(bit)<<2), level)
	atomic.StoreUint32(direction, atomic.LoadUint32(direction)&^bit)
}

// lineAPI runs a test over each interface of the kernel. line names a line of
// the chip as that interface does.
func lineAPI(t *testing.T, test func(t *testing.T, api gpio.API, line func(int) string)) {
	for _, api := range []gpio.API{gpio.V2, gpio.V1, gpio.Sysfs} {
		t.Run(string(api), func(t *testing.T) {
			chip := "gpiochip0"
			if api == gpio.Sysfs {
				list := sysfs.List("/sys/class/gpio", "gpiochip*")
				if len(list) != 1 {
					t.Fatalf("chips of sysfs: %v, want one", list)
				}
				chip = filepath.Base(list[0])
			}
			test(t, api, func(n int) string { return fmt.Sprintf("%s:%d", chip, n) })
		})
	}
}

func openedBy(t *testing.T, api gpio.API, c Config) *Set {
	t.Helper()
	s, err := open(c, api)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestM13_VM_OutputsOfAllInterfaces(t *testing.T) {
	chip := pins(t)
	level := func(n int) bool { return atomic.LoadUint32(chip.register(0x3fc))>>n&1 == 1 }
	lineAPI(t, func(t *testing.T, api gpio.API, line func(int) string) {
		s := openedBy(t, api, Config{
			Siren:    &Siren{Line: line(4)},
			IRFilter: &IRFilter{In: line(5), Out: line(6), Pulse: 5 * time.Millisecond},
			Lights:   []Light{{Kind: "infrared", Line: line(7), ActiveLow: true}},
		})
		if level(4) || !level(7) {
			t.Errorf("at the start the siren is %v, the lamp %v", level(4), !level(7))
		}
		siren, lamp := part[hal.Siren](t, s), part[hal.Lights](t, s)
		for _, on := range []bool{true, false, true} {
			if err := siren.SetSiren(on); err != nil {
				t.Fatal(err)
			}
			if is, err := siren.Siren(); err != nil || is != on || level(4) != on {
				t.Errorf("the siren is %v, its voltage %v, %v; want %v", is, level(4), err, on)
			}
		}
		if _, err := lamp.SetLight(hal.Infrared, 100); err != nil || level(7) {
			t.Error("the lamp is off:", err)
		}
		for _, in := range []bool{true, false} {
			if err := part[hal.IRFilter](t, s).SetIRFilter(in); err != nil || level(5) || level(6) {
				t.Error("the filter's lines are driven after a pulse:", level(5), level(6), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openedBy(t, api, Config{Siren: &Siren{Line: line(4)}}) // was given back
	})
}

func TestM13_VM_ButtonOnALineOfAllInterfaces(t *testing.T) {
	chip := pins(t)
	lineAPI(t, func(t *testing.T, api gpio.API, line func(int) string) {
		for _, low := range []bool{false, true} {
			chip.move(2, low)
			s := openedBy(t, api, Config{Buttons: []Button{{Button: "doorbell", Line: line(2), ActiveLow: low, Debounce: 10 * time.Millisecond}}})
			b := part[hal.Buttons](t, s)
			for range 3 {
				for _, press := range []bool{true, false} {
					for _, bounce := range []bool{press, !press, press} {
						chip.move(2, bounce != low)
					}
					next(t, b, "doorbell", press)
				}
			}
			if fd, _ := b.(*buttons).places[0].poll(); fd < 0 {
				t.Error("the line is sampled, although the chip has interrupts")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
			if e, err := b.NextButton(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v, %v: nobody pressed", e, err)
			}
			cancel()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestM13_VM_LinesThatCantBeHad(t *testing.T) {
	lineAPI(t, func(t *testing.T, api gpio.API, line func(int) string) {
		before := descriptors(t)
		for text, want := range map[string]string{line(8): "has lines 0 to 7", "gpiochip9:0": `there is no chip "gpiochip9"`} {
			_, err := open(Config{Siren: &Siren{Line: text}}, api)
			errtest.Says(t, err, hal.ErrNotFound, "peripherals.siren.line", text, want)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors open, before %d", after, before)
		}
	})
	holder := openedBy(t, gpio.V2, Config{Siren: &Siren{Line: "gpiochip0:4"}})
	for _, api := range []gpio.API{gpio.Auto, gpio.V1} {
		_, err := open(Config{Siren: &Siren{Line: "gpiochip0:4"}}, api)
		errtest.Says(t, err, hal.ErrBusy, "gpiochip0:4", `by "camagent"`)
	}
	list := sysfs.List("/sys/class/gpio", "gpiochip*")
	_, err := open(Config{Siren: &Siren{Line: filepath.Base(list[0]) + ":4"}}, gpio.Sysfs)
	errtest.Says(t, err, hal.ErrBusy, ":4")
	_, err = New(Config{Siren: &Siren{Line: "BUZZER"}})
	errtest.Says(t, err, hal.ErrNotFound, "BUZZER", "gpiochip0")
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	// The newest interface is taken by itself, and the label is as good as the name.
	for _, text := range []string{"gpiochip0:4", "9030000.pl061:4"} {
		s := opened(t, Config{Siren: &Siren{Line: text}})
		if api := part[siren](t, s).line.API(); api != gpio.V2 {
			t.Errorf("%s by %q, want v2", text, api)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestM13_VM_HaltestOfPeripherals(t *testing.T) {
	p := plug(t, "gpio-keys")
	report := haltest.Check(t, haltest.Subject{
		Name: "peripherals",
		Open: func(context.Context) (hal.Board, []any, error) {
			s, err := New(Config{
				IRFilter: &IRFilter{In: "gpiochip0:5", Out: "gpiochip0:6"},
				Lights:   []Light{{Kind: "infrared", Line: "gpiochip0:7"}},
				Buttons:  []Button{{Button: "reset", Key: "KEY_RESTART"}, {Button: "doorbell", Line: "gpiochip0:2"}},
				LEDs:     []LED{{LED: "status", Class: p.name + "::capslock"}, {LED: "power", Line: "gpiochip0:1"}},
				Siren:    &Siren{Line: "gpiochip0:4"},
			})
			return bare{}, []any{s}, err
		},
		Only: []string{"irfilter", "lights", "buttons", "events-close", "leds", "siren"},
	})
	if n := report.Count(haltest.Passed); n != 6 {
		t.Errorf("%d cases passed, want 6", n)
	}
}
