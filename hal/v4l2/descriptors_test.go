package v4l2

import (
	"encoding/hex"
	"slices"
	"testing"

	"iid2secure.nl/camagent/hal"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Parts of a camera's descriptors, made by hand after the specification.
const (
	controlFace = "09040000000e010000"
	streamFace  = "09040100000e020000"
	soundFace   = "090402000001010000" // of another class
	unitH264    = "1b240603" + "41769ea204dee3478b2bf4341aff003b" + "0f" + "01" + "02" + "02" + "0021" + "00"
	unitTwoPins = "1c240604" + "41769ea204dee3478b2bf4341aff003b" + "0f" + "02" + "0203" + "02" + "0001" + "00"
	unitOther   = "1a240605" + "00000000000000000000000000000000" + "01" + "01" + "02" + "01" + "ff" + "00"
	frame720    = "1e241101" + "00" + "0005" + "d002" + "a0860100" + "00127a00" + "801a0600" + "01" + "00000000" + "801a0600"
	frameZero   = "1e241102" + "00" + "8002" + "6801" + "00000000" + "00000000" + "801a0600" + "01" + "00000000" + "801a0600"
	formatMJPG  = "0b2406" + "0101010000000000"
)

func TestParseDescriptors(t *testing.T) {
	t.Parallel()
	u := parseDescriptors(unhex(t, controlFace+unitOther+unitH264+streamFace+formatMJPG+frame720+frameZero))
	if u.unit != 3 || !u.has(xuPictureType) || !u.has(xuBitrate) || u.has(1) || u.has(16) || u.has(17) {
		t.Errorf("%+v", u)
	}
	if r := u.bitrate(size{1280, 720}); r != (hal.Range{Min: 100_000, Max: 8_000_000}) {
		t.Errorf("%+v", r)
	}
	if r := u.bitrate(size{640, 360}); r != (hal.Range{Min: leastBitrate, Max: mostBitrate}) {
		t.Errorf("a frame that states none: %+v", r)
	}
	if r := u.bitrate(size{1, 1}); r != (hal.Range{}) {
		t.Errorf("a size that there is not: %+v", r)
	}
	if u := parseDescriptors(unhex(t, controlFace+unitTwoPins)); u.unit != 4 || !u.has(9) || u.has(10) {
		t.Errorf("a unit with two inputs: %+v", u)
	}
	for what, s := range map[string]string{
		"among the streams": streamFace + unitH264, "of another class": soundFace + unitH264, "without a face": unitH264,
		"cut": controlFace + unitH264[:40], "another unit": controlFace + unitOther, "nothing": "",
		"a length of 0": controlFace + "00" + unitH264, "controls beyond its end": controlFace + unitH264[:46] + "09" + unitH264[48:],
	} {
		if u := parseDescriptors(unhex(t, s)); u.unit != 0 || u.has(9) {
			t.Errorf("%s: %+v", what, u)
		}
	}
}

// FuzzS5_Descriptors: a device on USB can say what it likes.
func FuzzS5_Descriptors(f *testing.F) {
	f.Add(unhex(f, controlFace+unitOther+unitH264+streamFace+formatMJPG+frame720+frameZero))
	f.Add(unhex(f, controlFace+unitTwoPins))
	f.Add([]byte{2, 4, 1, 0x24})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		u := parseDescriptors(b)
		for selector := 1; selector < 300; selector++ {
			if u.has(selector) && (u.unit == 0 || selector > 8*len(u.controls)) {
				t.Errorf("unit %d has selector %d in %x", u.unit, selector, u.controls)
			}
		}
		for _, f := range u.frames {
			if f.bitrate.Min < leastBitrate || f.bitrate.Max > mostBitrate || f.bitrate.Min >= f.bitrate.Max {
				t.Errorf("%+v", f)
			}
		}
		if !slices.Equal(b, before) {
			t.Error("the input was changed")
		}
	})
}
