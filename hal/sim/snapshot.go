package sim

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"time"

	"iid2secure.nl/camagent/hal/sim/internal/h264"
)

const snapshotQuality = 85

// Snapshot implements [hal.Snapshotter]: a JPEG in the size of the first
// stream. Its strip shows that stream's newest frame number, 0 if it is not open.
func (b *Board) Snapshot(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed("snapshot", err)
	}
	b.mu.Lock()
	err, v := b.plugged(), b.open[b.streams[0].Name]
	b.mu.Unlock()
	if err != nil {
		return nil, failed("snapshot", err)
	}
	var number uint64
	if v != nil {
		number = v.newest()
	}
	size := b.streams[0].Default
	p := newPainter(b.backdrop(size.Width, size.Height), b.title, b.seed)
	m := b.moment(time.Since(b.start))
	pic, _, _ := p.paint(&m, uint32(number), 0)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, fullRange(pic), &jpeg.Options{Quality: snapshotQuality}); err != nil {
		return nil, failed("snapshot", err)
	}
	return out.Bytes(), nil
}

// fullRange turns p, in place, into the full range samples that JPEG has.
//
//go:norace
func fullRange(p *h264.Picture) *image.YCbCr {
	var luma, chroma [256]byte
	for i := range 256 {
		luma[i] = byte(min(max((i-16)*255/219, 0), 255))
		chroma[i] = byte(min(max((i-128)*255/224+128, 0), 255))
	}
	for i, v := range p.Y {
		p.Y[i] = luma[v]
	}
	for i, v := range p.Cb {
		p.Cb[i], p.Cr[i] = chroma[v], chroma[p.Cr[i]]
	}
	return &image.YCbCr{
		Y: p.Y, Cb: p.Cb, Cr: p.Cr, YStride: p.Stride(), CStride: p.Stride() / 2,
		SubsampleRatio: image.YCbCrSubsampleRatio420, Rect: image.Rect(0, 0, p.W, p.H),
	}
}
