package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// recorder writes what a client receives. mu guards what the callbacks of both
// media touch.
type recorder struct {
	client *gortsplib.Client
	dir    string
	count  int
	enough chan struct{} // closed when count pictures are there

	video, audio *description.Media
	avc          *format.H264
	ulaw         *format.G711
	decoder      *rtph264.Decoder

	mu              sync.Mutex
	pictures, sound track
	early           int // pictures that came before the first key frame
	complaints      []string
}

func newRecorder(c *gortsplib.Client, dir string, count int) (r *recorder, err error) {
	r = &recorder{client: c, dir: dir, count: count, enough: make(chan struct{})}
	if r.pictures, err = newTrack(filepath.Join(dir, "video.h264"), 90000); err != nil {
		return nil, err
	}
	if r.sound, err = newTrack(filepath.Join(dir, "sound.ulaw"), 8000); err != nil {
		return nil, err
	}
	c.OnPacketsLost = func(n uint64) { r.complain(fmt.Errorf("%d packets lost", n)) }
	c.OnDecodeError = r.complain
	return r, nil
}

func (r *recorder) complain(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complaints = append(r.complaints, err.Error())
}

// attach finds the media to record.
func (r *recorder) attach(desc *description.Session) (err error) {
	if r.video = desc.FindFormat(&r.avc); r.video == nil {
		return errors.New("no H.264 in the description")
	}
	if r.audio = desc.FindFormat(&r.ulaw); r.audio == nil {
		return errors.New("no G.711 in the description")
	}
	r.decoder, err = r.avc.CreateDecoder()
	return err
}

// listen is called when the media are set up.
func (r *recorder) listen() {
	r.client.OnPacketRTP(r.video, r.avc, r.picture)
	r.client.OnPacketRTP(r.audio, r.ulaw, r.samples)
	r.client.OnPacketRTCP(r.video, func(p rtcp.Packet) { r.report(&r.pictures, p) })
	r.client.OnPacketRTCP(r.audio, func(p rtcp.Packet) { r.report(&r.sound, p) })
}

func (r *recorder) picture(p *rtp.Packet) {
	unit, err := r.decoder.Decode(p)
	if errors.Is(err, rtph264.ErrMorePacketsNeeded) {
		return
	}
	if err != nil {
		r.complain(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.pictures.parts) == 0 && !h264.IsRandomAccess(unit):
		r.early++
		return
	case len(r.pictures.parts) == r.count && r.count > 0:
		return
	}
	for _, nal := range unit {
		r.pictures.out.Write([]byte{0, 0, 0, 1})
		r.pictures.out.Write(nal)
	}
	r.pictures.parts = append(r.pictures.parts, part{p.Timestamp, 0})
	if len(r.pictures.parts) == r.count {
		close(r.enough)
	}
}

func (r *recorder) samples(p *rtp.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sound.out.Write(p.Payload)
	r.sound.parts = append(r.sound.parts, part{p.Timestamp, len(p.Payload)})
}

func (r *recorder) report(t *track, p rtcp.Packet) {
	if sr, ok := p.(*rtcp.SenderReport); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		t.reports = append(t.reports, newReport(sr, len(t.parts)))
	}
}

// close writes what is left; the client has ended.
func (r *recorder) close() error {
	b, err := json.Marshal(map[string]any{
		"video": r.pictures.times(), "sound": r.sound.times(), "early": r.early, "complaints": r.complaints,
	})
	return errors.Join(err, r.pictures.close(), r.sound.close(), os.WriteFile(filepath.Join(r.dir, "times.json"), b, 0o600))
}
