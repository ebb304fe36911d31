package v4l2

import (
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// The numbers are those that the kernel's headers give on each processor.
func TestABISizes(t *testing.T) {
	t.Parallel()
	buf, form, xu := uintptr(88), uintptr(208), uintptr(16)
	if slices.Contains([]string{"arm", "mipsle", "386"}, runtime.GOARCH) {
		buf, form, xu = 68, 204, 12
	}
	for name, s := range map[string][2]uintptr{
		"v4l2_capability":       {unsafe.Sizeof(capability{}), 104},
		"v4l2_fmtdesc":          {unsafe.Sizeof(fmtDesc{}), 64},
		"v4l2_pix_format":       {unsafe.Sizeof(pixFormat{}), 48},
		"v4l2_format":           {unsafe.Sizeof(format{}), form},
		"v4l2_format.fmt":       {unsafe.Offsetof(format{}.Pix), form - 200},
		"v4l2_buffer":           {unsafe.Sizeof(buffer{}), buf},
		"v4l2_buffer.m":         {unsafe.Offsetof(buffer{}.Offset), map[uintptr]uintptr{88: 64, 68: 52}[buf]},
		"v4l2_streamparm":       {unsafe.Sizeof(streamParm{}), 204},
		"v4l2_frmsizeenum":      {unsafe.Sizeof(frameSize{}), 44},
		"v4l2_frmivalenum":      {unsafe.Sizeof(frameInterval{}), 52},
		"v4l2_requestbuffers":   {unsafe.Sizeof(requestBuffers{}), 20},
		"v4l2_control":          {unsafe.Sizeof(control{}), 8},
		"v4l2_queryctrl":        {unsafe.Sizeof(queryControl{}), 68},
		"v4l2_querymenu":        {unsafe.Sizeof(queryMenu{}), 44},
		"uvc_xu_control_query":  {unsafe.Sizeof(xuQuery{}), xu},
		"uvc_xu_control_q.size": {unsafe.Offsetof(xuQuery{}.Size), 4},
		"uvc_xu_control_q.data": {unsafe.Offsetof(xuQuery{}.Data), 8},
	} {
		if s[0] != s[1] {
			t.Errorf("%s: %s is %d, want %d", runtime.GOARCH, name, s[0], s[1])
		}
	}
}

func TestABINumbers(t *testing.T) {
	t.Parallel()
	want := map[string][4]uintptr{
		"amd64":  {0xc0585611, 0xc0d05605, 0x40045612, 0xc0107521},
		"arm64":  {0xc0585611, 0xc0d05605, 0x40045612, 0xc0107521},
		"arm":    {0xc0445611, 0xc0cc5605, 0x40045612, 0xc00c7521},
		"mipsle": {0xc0445611, 0xc0cc5605, 0x80045612, 0xc00c7521},
	}[runtime.GOARCH]
	if is := [4]uintptr{calls.dqbuf, calls.sFmt, calls.streamOn, calls.xu}; is != want {
		t.Errorf("%s: %#x, want %#x", runtime.GOARCH, is, want)
	}
}

func TestFourCC(t *testing.T) {
	t.Parallel()
	for f, want := range map[fourCC]string{fmtH264: "H264", 0x32315559: "YU12", 0x01020304: "????", 0xb2315559: "YU12"} {
		if f.String() != want {
			t.Errorf("%#x is %q, want %q", uint32(f), f, want)
		}
	}
}
