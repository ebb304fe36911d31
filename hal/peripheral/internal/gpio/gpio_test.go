package gpio

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

var specs = []struct {
	text string
	want Spec
	says string // of the error; empty: none
}{
	{"gpiochip0:17", Spec{Chip: "gpiochip0", Offset: 17}, ""},
	{"pinctrl-bcm2835:4", Spec{Chip: "pinctrl-bcm2835", Offset: 4}, ""},
	{"40020000.gpio:b:3", Spec{Chip: "40020000.gpio:b", Offset: 3}, ""},
	{"IR_CUT_A", Spec{Name: "IR_CUT_A"}, ""},
	{"SD/MMC CD", Spec{Name: "SD/MMC CD"}, ""},
	{"led:red", Spec{Name: "led:red"}, ""},
	{"53", Spec{Number: 53}, ""},
	{"0", Spec{}, ""},
	{"", Spec{}, "is empty"},
	{"gpiochip0:", Spec{Name: "gpiochip0:"}, ""},
	{":3", Spec{}, "name of a chip"},
	{"../../dev/sda:3", Spec{}, "name of a chip"},
	{"gpiochip0:99999999999999999999", Spec{}, "want 0 to"},
	{"2000000", Spec{}, "want 0 to"},
	{"a\x00b", Spec{}, "printable"},
	{"µ", Spec{}, "printable"},
	{strings.Repeat("x", 32), Spec{}, "1 to 31"},
	{" x", Spec{}, "name of a line"},
}

func TestS5_LineSpecs(t *testing.T) {
	t.Parallel()
	for _, c := range specs {
		got, err := Parse(c.text)
		switch {
		case c.says == "" && (err != nil || got != c.want):
			t.Errorf("%q: %+v, %v; want %+v", c.text, got, err, c.want)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: %v, want an error with %q", c.text, err, c.says)
		}
	}
}

// S5: what is taken names one thing, and printing it gives the same again.
func FuzzParse(f *testing.F) {
	for _, c := range specs {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Fatalf("the error shows raw bytes: %q", err)
			}
			return
		}
		if s.Chip != "" && (s.Name != "" || strings.Contains(s.Chip, "/")) || s.Offset < 0 || s.Number < 0 {
			t.Fatalf("%q is %+v", text, s)
		}
		if again, err := Parse(s.String()); err != nil || again != s {
			t.Fatalf("%q is %+v, again %+v, %v", text, s, again, err)
		}
	})
}

// The sizes and numbers are those of include/uapi/linux/gpio.h, the same for
// all processors: the 64-bit members lie where no padding is needed.
func TestM13_StructuresHaveTheKernelsLayout(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name         string
		is, want     uintptr
		request      uint
		letter, code uint
	}{
		{"gpiochip_info", unsafe.Sizeof(unix.GPIOChipInfo{}), 68, 0, 0, 0},
		{"gpioline_info", unsafe.Sizeof(lineInfoV1{}), 72, getLineInfoV1, 0xb4, 2},
		{"gpiohandle_request", unsafe.Sizeof(handleRequestV1{}), 364, getLineHandleV1, 0xb4, 3},
		{"gpioevent_request", unsafe.Sizeof(eventRequestV1{}), 48, getLineEventV1, 0xb4, 4},
		{"gpio_v2_line_info", unsafe.Sizeof(unix.GPIOV2LineInfo{}), 256, unix.GPIO_V2_GET_LINEINFO_IOCTL, 0xb4, 5},
		{"gpio_v2_line_request", unsafe.Sizeof(unix.GPIOV2LineRequest{}), 592, unix.GPIO_V2_GET_LINE_IOCTL, 0xb4, 7},
		{"gpiohandle_data", unsafe.Sizeof(valuesV1{}), 64, getValuesV1, 0xb4, 8},
		{"gpiohandle_data", unsafe.Sizeof(valuesV1{}), 64, setValuesV1, 0xb4, 9},
		{"gpio_v2_line_values", unsafe.Sizeof(unix.GPIOV2LineValues{}), 16, unix.GPIO_V2_LINE_GET_VALUES_IOCTL, 0xb4, 14},
		{"gpio_v2_line_values", unsafe.Sizeof(unix.GPIOV2LineValues{}), 16, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, 0xb4, 15},
		{"gpio_v2_line_event", unsafe.Sizeof(unix.GPIOV2LineEvent{}), v2EventSize, 0, 0, 0},
	} {
		if s.is != s.want {
			t.Errorf("%s has %d bytes, want %d", s.name, s.is, s.want)
		}
		if want := 0xc0000000 | uint(s.want)<<16 | s.letter<<8 | s.code; s.request != 0 && s.request != want {
			t.Errorf("the request for %s is %#x, want %#x", s.name, s.request, want)
		}
	}
	var r unix.GPIOV2LineRequest
	v2Attribute(&r, unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE, v2Debounce(20*time.Millisecond))
	// The union's 32-bit member stands at its front.
	if got := *(*uint32)(unsafe.Pointer(&r.Config.Attrs[0].Attr.Flags)); got != 20_000 {
		t.Errorf("debounce is %d µs, want 20000", got)
	}
}

func TestM13_EdgesOfBothInterfaces(t *testing.T) {
	t.Parallel()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{v1EventSize, v2EventSize} {
		b := make([]byte, 2*size+5) // and the front of a third
		for i, id := range []uint32{1, 2} {
			binary.NativeEndian.PutUint64(b[i*size:], uint64(ts.Nano())-uint64(i)*uint64(time.Second))
			binary.NativeEndian.PutUint32(b[i*size+8:], id)
		}
		list := decode(b, size)
		if len(list) != 2 || !list[0].Active || list[1].Active {
			t.Fatalf("%+v", list)
		}
		if apart := list[0].Time.Sub(list[1].Time); apart < 900*time.Millisecond || apart > 1100*time.Millisecond {
			t.Errorf("edges %v apart, want 1s", apart)
		}
	}
}

func TestM13_StampsOfEitherClock(t *testing.T) {
	t.Parallel()
	for name, stamp := range map[string]func() uint64{
		"monotonic": func() uint64 {
			var ts unix.Timespec
			_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
			return uint64(ts.Nano())
		},
		"real time": func() uint64 { return uint64(time.Now().UnixNano()) },
		"zero":      func() uint64 { return 0 },
		"garbage":   func() uint64 { return 1 << 63 },
	} {
		if age := time.Since(when(stamp())); age < 0 || age > time.Hour {
			t.Errorf("%s: %v ago", name, age)
		}
	}
}

// class makes lines of /sys/class/gpio that are exported.
func class(t *testing.T, files map[string]string) System {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, "sys/class/gpio", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return System{Root: root}
}

func (s System) file(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.class(), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustParse(t *testing.T, text string) Spec {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var exportedLine = map[string]string{
	"gpio37/value": "0\n", "gpio37/direction": "in\n", "gpio37/active_low": "0\n", "gpio37/edge": "none\n",
	"gpiochip32/base": "32\n", "gpiochip32/ngpio": "8\n", "gpiochip32/label": "pinctrl\n", "export": "", "unexport": "",
}

func TestM13_SysfsOutputBeginsAtTheRightVoltage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		activeLow, initial bool
		direction, value   string
	}{{false, false, "low", "0"}, {false, true, "high", "1"}, {true, false, "high", "0"}, {true, true, "low", "1"}} {
		s := class(t, exportedLine)
		l, err := s.Output(mustParse(t, "37"), c.activeLow, c.initial)
		if err != nil {
			t.Fatal(err)
		}
		low := map[bool]string{true: "1", false: "0"}[c.activeLow]
		if s.file(t, "gpio37/direction") != c.direction || s.file(t, "gpio37/value")[:1] != c.value || s.file(t, "gpio37/active_low") != low {
			t.Errorf("%+v: %q %q %q", c, s.file(t, "gpio37/direction"), s.file(t, "gpio37/value"), s.file(t, "gpio37/active_low"))
		}
		if err := l.Set(true); err != nil || s.file(t, "gpio37/value")[:1] != "1" {
			t.Error("not set:", err)
		}
		if on, err := l.Get(); err != nil || !on {
			t.Error("reads", on, err)
		}
		if l.API() != Sysfs {
			t.Error(l.API())
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if s.file(t, "unexport") != "" {
			t.Error("a line that we did not export was taken back")
		}
		if err := l.Set(true); !errors.Is(err, hal.ErrClosed) {
			t.Error("after Close:", err)
		}
	}
}

func TestM13_SysfsChipsByFirstLineAndLabel(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gpiochip32:5", "pinctrl:5", "37"} {
		l, err := class(t, exportedLine).Input(mustParse(t, name), false)
		if err != nil {
			t.Fatal(err)
		}
		if on, err := l.Get(); err != nil || on {
			t.Error(on, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestM13_SysfsEdges(t *testing.T) {
	t.Parallel()
	s := class(t, exportedLine)
	l, err := s.Edges(mustParse(t, "37"), false, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if fd, events := l.Poll(); fd < 0 || events&unix.POLLPRI == 0 || s.file(t, "gpio37/edge") != "both" || l.Debounced() {
		t.Error(fd, events, s.file(t, "gpio37/edge"), l.Debounced())
	}
	for _, want := range []int{0, 1, 0} {
		list, err := l.Read()
		if err != nil || len(list) != want {
			t.Errorf("%d edges, %v; want %d", len(list), err, want)
		}
		if err := os.WriteFile(filepath.Join(s.class(), "gpio37/value"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(s.class(), "gpio37/edge")); err != nil {
		t.Fatal(err)
	}
	plain, err := s.Edges(mustParse(t, "37"), false, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if fd, _ := plain.Poll(); fd >= 0 {
		t.Error("a line without interrupts is waited for")
	}
}

func TestM13_LinesThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := class(t, exportedLine)
	for text, want := range map[string]string{
		"gpiochip0:5":  `line "gpiochip0:5": device not found: there is no chip "gpiochip0", want one of gpiochip32`,
		"gpiochip32:8": `line "gpiochip32:8": device not found: gpiochip32 has lines 0 to 7`,
		"IR_CUT_A":     `line "IR_CUT_A": device not found: this kernel tells no names of lines, want the number in /sys/class/gpio`,
		"99":           `line "99": device not found: no chip has line 99; chips by their first line: gpiochip32`,
	} {
		_, err := s.Output(mustParse(t, text), false, false)
		if !errors.Is(err, hal.ErrNotFound) || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	_, err := System{Root: t.TempDir()}.Output(mustParse(t, "5"), false, false)
	if !errors.Is(err, hal.ErrNotFound) || !strings.Contains(err.Error(), "no /sys/class/gpio") {
		t.Error(err)
	}
	// A file that is called as a chip is none.
	if err := os.MkdirAll(filepath.Join(s.Root, "dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Root, "dev/gpiochip0"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Output(mustParse(t, "gpiochip0:1"), false, false)
	if err == nil || !strings.Contains(err.Error(), "is not a GPIO chip") {
		t.Error(err)
	}
}
