package sps

import "testing"

func TestRead(t *testing.T) {
	t.Parallel()
	good := []byte{0x67, 0x64, 0x00, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xf1, 0x42, 0x99, 0x60} // of x264
	if w, h, fps := Read(good); w != 320 || h != 180 || fps != 25 {
		t.Errorf("%dx%d at %d, want 320x180 at 25", w, h, fps)
	}
	for cut := range 6 {
		if w, h, fps := Read(good[:cut]); w != 0 || h != 0 || fps != 0 {
			t.Errorf("%d bytes: %dx%d at %d, want nothing", cut, w, h, fps)
		}
	}
}
