package evdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
)

func encode(list ...event) []byte {
	var out []byte
	for _, e := range list {
		b := make([]byte, eventSize)
		sec, usec := int64(e.time/time.Second), int64(e.time%time.Second/time.Microsecond)
		if longSize == 4 {
			binary.NativeEndian.PutUint32(b, uint32(sec))
			binary.NativeEndian.PutUint32(b[4:], uint32(usec))
		} else {
			binary.NativeEndian.PutUint64(b, uint64(sec))
			binary.NativeEndian.PutUint64(b[8:], uint64(usec))
		}
		rest := b[2*longSize:]
		binary.NativeEndian.PutUint16(rest, e.typ)
		binary.NativeEndian.PutUint16(rest[2:], e.code)
		binary.NativeEndian.PutUint32(rest[4:], uint32(e.value))
		out = append(out, b...)
	}
	return out
}

var sync = event{typ: typeSync, code: syncReport}

func key(code uint16, value int32) event { return event{typ: typeKey, code: code, value: value} }

func TestM13_EventsHaveTheKernelsLayout(t *testing.T) {
	t.Parallel()
	want := map[int]int{4: 16, 8: 24}[longSize]
	if eventSize != want {
		t.Errorf("struct input_event has %d bytes, want %d", eventSize, want)
	}
	// _IOW('E', 0xa0, int) and _IOR('E', 0x18, 96 bytes), or as MIPS numbers them.
	generic := setClock == 0x400445a0 && getKeys == 0x80604518
	mips := setClock == 0x800445a0 && getKeys == 0x40604518
	if isMIPS := strings.HasPrefix(runtime.GOARCH, "mips"); isMIPS && !mips || !isMIPS && !generic {
		t.Errorf("requests %#x and %#x", setClock, getKeys)
	}
	e := event{3*time.Second + 250*time.Millisecond, typeKey, 0x198, -1}
	if got := decode(encode(e)); len(got) != 1 || got[0] != e {
		t.Errorf("%+v, want %+v", got, e)
	}
	after2038 := event{time: 4_000_000_000 * time.Second} // unsigned on 32 bit
	if got := decode(encode(after2038)); got[0] != after2038 {
		t.Errorf("%+v, want %+v", got, after2038)
	}
}

// S5: any bytes are taken apart, none twice and none invented.
func FuzzDecode(f *testing.F) {
	f.Add(encode(key(0x198, 1), sync))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list := decode(b)
		if len(list) != len(b)/eventSize {
			t.Fatalf("%d events of %d bytes", len(list), len(b))
		}
		d := &Device{clock: unix.CLOCK_MONOTONIC, keys: []uint16{0x198, 0}, down: map[uint16]bool{}}
		presses := d.take(list, func() (map[uint16]bool, error) { return nil, nil })
		last := map[uint16]bool{}
		for _, p := range presses {
			if p.Key != 0x198 && p.Key != 0 || last[p.Key] == p.Down || time.Since(p.Time) < 0 || time.Since(p.Time) > 2*time.Hour {
				t.Fatalf("%+v of %v", p, presses)
			}
			last[p.Key] = p.Down
		}
		for i, e := range list { // each event is its own bytes, microseconds that overflow aside
			if e.time%time.Microsecond == 0 && e.time >= 0 && e.time < time.Hour && binary.NativeEndian.Uint16(b[i*eventSize+2*longSize:]) != e.typ {
				t.Fatalf("event %d is %+v", i, e)
			}
		}
	})
}

func device(keys ...uint16) *Device {
	return &Device{clock: unix.CLOCK_MONOTONIC, keys: keys, down: map[uint16]bool{}}
}

func TestM13_PressesOfEvents(t *testing.T) {
	t.Parallel()
	d := device(1, 2)
	never := func() (map[uint16]bool, error) { t.Error("asked without a loss"); return nil, nil }
	list := d.take([]event{key(1, 0), key(1, 1), sync, key(1, 2), key(3, 1), key(2, 1), key(1, 0), sync}, never)
	want := []string{"1 true", "2 true", "1 false"}
	if got := shown(list); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func shown(list []Press) (out []string) {
	for _, p := range list {
		out = append(out, fmt.Sprintf("%d %v", p.Key, p.Down))
	}
	return out
}

func TestR4_EventsThatTheKernelDroppedAreMadeUpFor(t *testing.T) {
	t.Parallel()
	d := device(1, 2, 3)
	d.down[1], d.down[3] = true, true
	drop := event{typ: typeSync, code: syncDrop}
	asked := 0
	held := func() (map[uint16]bool, error) { asked++; return map[uint16]bool{2: true, 3: true}, nil }
	// What comes before the next report is a part of what was lost.
	list := d.take([]event{drop, key(2, 1), key(2, 0), key(1, 0)}, held)
	list = append(list, d.take([]event{sync, key(3, 0)}, held)...)
	if got, want := fmt.Sprint(shown(list)), "[1 false 2 true 3 false]"; got != want || asked != 1 {
		t.Errorf("%s after asking %d times, want %s", got, asked, want)
	}
	// A device that can't be asked changes nothing.
	list = d.take([]event{drop, sync}, func() (map[uint16]bool, error) { return nil, unix.ENOTTY })
	if len(list) != 0 {
		t.Errorf("%v", shown(list))
	}
}

func TestM13_KeyBitmaps(t *testing.T) {
	t.Parallel()
	const word = longSize * 8
	text := "8000 0 1\n" // bits 0, and 15 of the third word
	for bit, want := range map[uint16]bool{0: true, 1: false, word: false, 2*word + 15: true, 2*word + 14: false, 3 * word: false, maxKey: false} {
		if bitSet(text, bit) != want {
			t.Errorf("bit %d is %v", bit, !want)
		}
	}
	if bitSet("", 0) || bitSet("zz", 0) {
		t.Error("bits of nothing")
	}
}

// input makes an input device whose file is a regular one.
func input(t *testing.T, root, event, name, keys string) {
	t.Helper()
	dir := filepath.Join(root, "sys/class/input", event, "device")
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "capabilities"), 0o700), os.MkdirAll(filepath.Join(root, "dev/input"), 0o700),
		os.WriteFile(filepath.Join(dir, "name"), []byte(name+"\n"), 0o600), os.WriteFile(filepath.Join(dir, "capabilities/key"), []byte(keys), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func TestM13_DevicesByNameAndKey(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	input(t, root, "event9", "first", "2\n")
	input(t, root, "event10", "second", "6\n")
	for _, c := range []struct {
		device string
		key    uint16
		want   string
	}{
		{"", 1, "event9"}, {"", 2, "event10"}, {"second", 1, "event10"}, {"event10", 1, "event10"},
		{"", 3, `! no input device has the key 3; there are event9 "first", event10 "second"`},
		{"third", 1, `! no input device "third"; there are event9 "first", event10 "second"`},
		{"first", 2, `! the input device "first" has no key 2`},
	} {
		path, err := Find(root, c.device, c.key)
		if says, bad := strings.CutPrefix(c.want, "! "); bad {
			if !errors.Is(err, hal.ErrNotFound) || !strings.HasSuffix(err.Error(), says) {
				t.Errorf("%q key %d: %v, want %s", c.device, c.key, err, says)
			}
		} else if err != nil || filepath.Base(path) != c.want {
			t.Errorf("%q key %d: %s, %v; want %s", c.device, c.key, path, err, c.want)
		}
	}
}

func TestR4_DeviceThatGivesHalfAnEventIsAnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "event0")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, eventSize+3), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, []uint16{1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Read(); err == nil || !strings.Contains(err.Error(), "want events of") {
		t.Error(err)
	}
	if _, err := d.Read(); !errors.Is(err, hal.ErrGone) { // the end of the file
		t.Error(err)
	}
	if _, err := Open(path+"1", nil); !errors.Is(err, hal.ErrNotFound) {
		t.Error(err)
	}
}

func TestM13_KeysByNameAndNumber(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]uint16{"KEY_RESTART": 0x198, "408": 408, "0x211": 0x211, "KEY_WPS_BUTTON": 0x211, "767": 767} {
		if got, err := Key(name); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"", "0", "768", "-1", "key_restart", "KEY_NOPE"} {
		if got, err := Key(name); err == nil {
			t.Errorf("%q is %d", name, got)
		}
	}
	seen := map[uint16]string{}
	for name, code := range keys {
		if seen[code] != "" {
			t.Errorf("%s and %s are both %d", name, seen[code], code)
		}
		seen[code] = name
	}
}
