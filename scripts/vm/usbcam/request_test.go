package usbcam

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func list() *List {
	return &List{Size: Size{640, 360}, Frames: [][]byte{
		[]byte("\x00\x00\x01\x67s\x00\x00\x01\x68p\x00\x00\x01\x65\x88key"), []byte("\x00\x00\x01\x41\x9aone"), []byte("\x00\x00\x01\x41\x9atwo"),
	}}
}

// walk checks that descriptors fill b, and counts them by kind.
func walk(t *testing.T, b []byte) map[[2]byte][]byte {
	t.Helper()
	seen := map[[2]byte][]byte{}
	for len(b) > 0 {
		n := int(b[0])
		if n < 2 || n > len(b) {
			t.Fatalf("a descriptor of %d bytes where %d are left", n, len(b))
		}
		d := b[:n]
		key := [2]byte{d[1]}
		if d[1] == classSpecific {
			key[1] = d[2]
		}
		seen[key] = d
		b = b[n:]
	}
	return seen
}

func TestDescriptorsAreWhole(t *testing.T) {
	t.Parallel()
	for kind, format := range map[Kind]byte{H264: 0x10, MJPEG: 0x06} {
		b := configurationDescriptor(kind, []Size{{1280, 720}, {640, 360}})
		if n := int(le.Uint16(b[2:])); n != len(b) {
			t.Errorf("wTotalLength is %d of %d", n, len(b))
		}
		seen := walk(t, b)
		if f := seen[[2]byte{classSpecific, format}]; len(f) == 0 || f[4] != 2 {
			t.Errorf("kind %d: format descriptor %x, want one with 2 frames", kind, f)
		}
		if unit := bytes.Contains(b, h264Unit[:]); unit != (kind == H264) {
			t.Errorf("kind %d: extension unit %v", kind, unit)
		}
	}
}

// The layouts of UVC 1.1, tables 3-6 and 3-8, and of its frame based payload
// document, table 3-2, written out by hand.
func TestDescriptorBytes(t *testing.T) {
	t.Parallel()
	all := hex.EncodeToString(configurationDescriptor(H264, []Size{{640, 360}}))
	for what, want := range map[string]string{
		"processing unit": "0c2405020100000" + "21b04" + "0000",
		"extension unit":  "1b240603" + "41769ea204dee3478b2bf4341aff003b" + "02" + "01" + "02" + "02" + "0021" + "00",
		"format":          "1c24100101" + "4832363400001000800000aa00389b71" + "10" + "01" + "00000000" + "01",
		"frame":           "2a24110100" + "8002" + "6801" + "a0860100" + "80841e00" + "801a0600" + "04" + "00000000" + "15160500" + "801a0600" + "2a2c0a00" + "40420f00",
	} {
		if !bytes.Contains([]byte(all), []byte(want)) {
			t.Errorf("no %s %s in %s", what, want, all)
		}
	}
}

func TestDescriptorsAreCutToWhatTheHostReads(t *testing.T) {
	t.Parallel()
	k, _ := plug(t, Config{Source: list(), Serial: "ab"})
	status, b := k.control(0x80, 6, typeDevice<<8, 0, 8)
	if status != 0 || !bytes.Equal(b, deviceDescriptor(1)[:8]) {
		t.Errorf("device descriptor: %d %x", status, b)
	}
	if _, b := k.control(0x80, 6, typeString<<8|3, 0x0409, 255); string(b) != "\x06\x03a\x00b\x00" {
		t.Errorf("serial number %q", b)
	}
	if status, _ := k.control(0x80, 6, 0x0F00, 0, 255); status != stalled {
		t.Errorf("a descriptor that there is not: %d, want a stall", status)
	}
}

func TestNegotiationAdjustsInsteadOfRefusing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ want, got choice }{
		"as wished":      {choice{1, 333333}, choice{1, 333333}},
		"no such frame":  {choice{9, 333333}, choice{1, 333333}},
		"frame 0":        {choice{0, 1000000}, choice{1, 1000000}},
		"no such rate":   {choice{1, 5}, choice{1, defaultInterval}},
		"nothing wished": {choice{}, choice{1, defaultInterval}},
	} {
		k, _ := plug(t, Config{Source: list()})
		for _, selector := range []int{1, 2} {
			if status, _ := k.control(0x21, setCur, selector<<8, streamInterface, 34, c.want.encode()...); status != 0 {
				t.Fatalf("%s: set: %d", name, status)
			}
			if _, b := k.control(0xA1, getCur, selector<<8, streamInterface, 34); !bytes.Equal(b, c.got.encode()) {
				t.Errorf("%s: %x, want %x", name, b, c.got.encode())
			}
		}
	}
}

func TestPictureControls(t *testing.T) {
	t.Parallel()
	k, s := plug(t, Config{Source: list()})
	const brightness = 2 << 8
	set := func(v int) int32 {
		status, _ := k.control(0x21, setCur, brightness, unitPicture<<8, 2, u16(v)...)
		return status
	}
	if st := set(-17); st != 0 {
		t.Fatalf("set: %d", st)
	}
	if v, err := s.value("brightness"); err != nil || v != -17 {
		t.Errorf("brightness %d, %v", v, err)
	}
	for code, want := range map[byte]int{getCur: -17, getMin: -64, getMax: 64, getRes: 1, getDef: 0, getLen: 2} {
		if _, b := k.control(0xA1, code, brightness, unitPicture<<8, 2); !bytes.Equal(b, u16(want)) {
			t.Errorf("request %x: %x, want %d", code, b, want)
		}
	}
	if st := set(65); st != stalled {
		t.Errorf("brightness 65: %d, want a stall", st)
	}
	if status, _ := k.control(0xA1, getCur, 6<<8, unitPicture<<8, 2); status != stalled {
		t.Errorf("hue, which there is not: %d, want a stall", status)
	}
	if _, err := s.value("hue"); err == nil {
		t.Error("the camera has a hue")
	}
}

// tuned is a source that takes a bit rate.
type tuned struct {
	*List
	keys, bps chan int
}

func (s *tuned) ForceKey() error          { s.keys <- 1; return nil }
func (s *tuned) SetBitrate(bps int) error { s.bps <- bps; return nil }

func TestExtensionUnit(t *testing.T) {
	t.Parallel()
	source := &tuned{list(), make(chan int, 1), make(chan int, 1)}
	k, s := plug(t, Config{Source: source})
	if status, _ := k.control(0x21, setCur, selectPicture<<8, unitH264<<8, 4, 0, 0, 2, 0); status != 0 {
		t.Fatalf("force a key frame: %d", status)
	}
	<-source.keys
	layers := append(append([]byte{0, 0}, u32(400_000)...), u32(300_000)...)
	if status, _ := k.control(0x21, setCur, selectBitrate<<8, unitH264<<8, 10, layers...); status != 0 {
		t.Fatalf("bit rate: %d", status)
	}
	if bps := <-source.bps; bps != 300_000 {
		t.Errorf("bit rate %d, want the average", bps)
	}
	if st := s.snapshot(); st.Keys != 1 || st.Bitrate != 300_000 {
		t.Errorf("%+v", st)
	}
	if status, b := k.control(0xA1, getLen, selectBitrate<<8, unitH264<<8, 2); status != 0 || b[0] != 10 {
		t.Errorf("length: %d %x", status, b)
	}
	if status, _ := k.control(0x21, setCur, selectPicture<<8, unitH264<<8, 2, 0, 0); status != stalled {
		t.Errorf("a short command: %d, want a stall", status)
	}
	if status, _ := k.control(0xA1, getLen, 1<<8, unitH264<<8, 2); status != stalled {
		t.Errorf("selector 1, which there is not: %d, want a stall", status)
	}
}
