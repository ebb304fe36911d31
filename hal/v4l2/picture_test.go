package v4l2

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"runtime"
	"testing"

	"iid2secure.nl/camagent/hal"
)

func TestCompleteJPEG(t *testing.T) {
	t.Parallel()
	lacking := motionJPEG(t, 32, 16, 90)
	whole, err := completeJPEG(lacking)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, has := segment(whole, markerDHT); !has || !bytes.HasSuffix(whole, []byte{0xff, markerEOI}) {
		t.Error("it has no tables, or no end")
	}
	p, err := fromJPEG(whole)
	if err != nil || p.Rect.Dx() != 32 || p.Rect.Dy() != 16 || p.Y[0] < 88 || p.Y[0] > 92 {
		t.Errorf("%+v, %v", p, err)
	}
	if again, err := completeJPEG(whole); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("a whole picture was changed: %v", err)
	}
	for what, b := range map[string][]byte{"nothing": nil, "no picture": []byte("not a picture at all"), "cut": whole[:len(whole)/2], "no data": {0xff, markerSOI, 0xff, markerEOI}} {
		if _, err := completeJPEG(b); !errors.Is(err, hal.ErrGarbage) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := fromJPEG([]byte("nonsense")); !errors.Is(err, hal.ErrGarbage) {
		t.Error(err)
	}
}

func TestGrayJPEG(t *testing.T) {
	t.Parallel()
	gray := image.NewGray(image.Rect(0, 0, 16, 8))
	for i := range gray.Pix {
		gray.Pix[i] = 200
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, gray, nil); err != nil {
		t.Fatal(err)
	}
	p, err := fromJPEG(b.Bytes())
	if err != nil || p.Y[0] < 198 || p.Y[0] > 202 || p.Cb[0] != 128 || p.Cr[31] != 128 {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzS5_JPEG: a picture is what a device wrote.
func FuzzS5_JPEG(f *testing.F) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewYCbCr(image.Rect(0, 0, 8, 8), image.YCbCrSubsampleRatio420), nil); err != nil {
		f.Fatal(err)
	}
	from, to, _ := segment(b.Bytes(), markerDHT)
	f.Add(b.Bytes())
	f.Add(append(bytes.Clone(b.Bytes()[:from]), b.Bytes()[to:]...))
	f.Add([]byte{0xff, markerSOI, 0xff, markerSOS, 0, 0, 0xff, markerEOI})
	f.Fuzz(func(t *testing.T, b []byte) {
		if whole, err := completeJPEG(b); err == nil && !bytes.HasSuffix(whole, []byte{0xff, markerEOI}) {
			t.Errorf("%x gives %x", b, whole)
		}
	})
}

func TestFromYUYV(t *testing.T) {
	t.Parallel()
	row := []byte{16, 128, 235, 128, 126, 16, 0, 240} // black, white; middle, below black, colours at their ends
	data := append(append(append([]byte{}, row...), 0xee, 0xee), row...)
	pix := pixFormat{Width: 4, Height: 2, BytesPerLine: 10}
	p, err := fromYUYV(data, pix)
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte{0, 255, 128, 0}; !bytes.Equal(p.Y[:4], want) || !bytes.Equal(p.Y[p.YStride:][:4], want) {
		t.Errorf("luma %v, want %v", p.Y, want)
	}
	if p.Cb[0] != 128 || p.Cr[0] != 128 || p.Cb[1] > 1 || p.Cr[1] < 254 {
		t.Errorf("chroma %v %v", p.Cb, p.Cr)
	}
	pix.Quantization = quantizationFull
	if p, err = fromYUYV(data, pix); err != nil || p.Y[0] != 16 || p.Cr[1] != 240 {
		t.Errorf("full range was changed: %v, %v", p, err)
	}
	for _, bad := range []pixFormat{{Width: 4, Height: 3, BytesPerLine: 10}, {Width: 3, Height: 1}, {}} {
		if _, err := fromYUYV(data, bad); !errors.Is(err, hal.ErrGarbage) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestStillNode(t *testing.T) {
	t.Parallel()
	n := &fakeNode{card: "Raw camera", caps: capVideoCapture | capStreaming, formats: []fourCC{fmtYUYV}, width: 4, height: 2, rate: 10}
	k := newFake(map[string]*fakeNode{dev0: h264Node(), "/dev/video2": n})
	c := mainOf(dev0)
	c.Still = "/dev/video2"
	b := fakeBoard(t, k, finder{k, "", ""}, c)
	g, ok := hal.As[hal.Grabber](b)
	if _, jpegs := hal.As[hal.Snapshotter](b); !ok || jpegs {
		t.Fatalf("raw pictures: %v, JPEG: %v", ok, jpegs)
	}
	for range 2 {
		done := make(chan error, 1)
		go func() { _, err := g.Grab(t.Context()); done <- err }()
		for end := false; !end; {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				end = true
			default:
				free := false
				k.look(func() { free = n.running && len(n.filled) == 0 && len(n.free) > 0 })
				if free {
					k.give(t, "/dev/video2", bytes.Repeat([]byte{128}, 16), 1, 0)
				}
			}
		}
	}
	if n.starts != 1 {
		t.Errorf("%d starts for two pictures", n.starts)
	}
	k.pull("/dev/video2")
	if _, err := g.Grab(t.Context()); !errors.Is(err, hal.ErrGone) {
		t.Errorf("pulled: %v", err)
	}
	k.look(func() { n.gone = false })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := g.Grab(ctx); done <- err }()
	for starts := 0; starts < 2; runtime.Gosched() { // what is left of the first is no use
		k.look(func() { starts = n.starts })
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Grab(t.Context()); !errors.Is(err, hal.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
