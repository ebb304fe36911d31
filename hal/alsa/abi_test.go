package alsa

import (
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// The numbers are those that the kernel's headers give on each processor.
func TestABISizes(t *testing.T) {
	t.Parallel()
	hw, sw, xfer := uintptr(608), uintptr(136), uintptr(24)
	if slices.Contains([]string{"arm", "mipsle", "386"}, runtime.GOARCH) {
		hw, sw, xfer = 604, 104, 12
	}
	for name, s := range map[string][2]uintptr{
		"snd_pcm_hw_params":           {unsafe.Sizeof(hwParams{}), hw},
		"snd_pcm_hw_params.intervals": {unsafe.Offsetof(hwParams{}.Intervals), 260},
		"snd_pcm_hw_params.rmask":     {unsafe.Offsetof(hwParams{}.Rmask), 512},
		"snd_pcm_sw_params":           {unsafe.Sizeof(swParams{}), sw},
		"snd_pcm_sw_params.avail_min": {unsafe.Offsetof(swParams{}.AvailMin), map[uintptr]uintptr{136: 16, 104: 12}[sw]},
		"snd_xferi":                   {unsafe.Sizeof(transfer{}), xfer},
	} {
		if s[0] != s[1] {
			t.Errorf("%s: %s is %d, want %d", runtime.GOARCH, name, s[0], s[1])
		}
	}
}

func TestABINumbers(t *testing.T) {
	t.Parallel()
	want := map[string][4]uintptr{
		"amd64":  {0xc2604111, 0xc0884113, 0x4140, 0x80184151},
		"arm64":  {0xc2604111, 0xc0884113, 0x4140, 0x80184151},
		"arm":    {0xc25c4111, 0xc0684113, 0x4140, 0x800c4151},
		"mipsle": {0xc25c4111, 0xc0684113, 0x20004140, 0x400c4151},
	}[runtime.GOARCH]
	if is := [4]uintptr{calls.hwParams, calls.swParams, calls.prepare, calls.get}; is != want {
		t.Errorf("%s: %#x, want %#x", runtime.GOARCH, is, want)
	}
}
