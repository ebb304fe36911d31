package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/hal/sim"
)

// picture is one that a client recorded. Times are the client's own, in seconds
// from wherever it counts, NaN if it has none.
type picture struct {
	seen
	at float64
}

// sounding is a piece of µ-law sound at 8 kHz.
type sounding struct {
	at   float64
	ulaw []byte
}

// recording is what a client has received, from its first key frame on.
type recording struct {
	early      int // pictures before that
	pictures   []picture
	sound      []sounding
	complaints []string
}

// size of a picture.
type size struct{ w, h int }

var sizes = map[string]size{"main": {simWidth, simHeight}, "sub": {640, 360}}

// readFilm reads a recording that ffmpeg knows, in which time stamps are.
func readFilm(ctx context.Context, file string, s size) (r recording, err error) {
	type packet struct {
		Kind  string `json:"codec_type"`
		PTS   string `json:"pts_time"`
		Size  string `json:"size"`
		Flags string `json:"flags"`
	}
	var probed struct {
		Packets []packet `json:"packets"`
	}
	out, err := run(ctx, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type,pts_time,size,flags", "-of", "json", file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(out, &probed); err != nil {
		return r, err
	}
	ulaw, err := run(ctx, "ffmpeg", "-v", "fatal", "-nostdin", "-i", file, "-map", "0:a", "-c", "copy", "-f", "mulaw", "-")
	if err != nil {
		return r, err
	}
	var at []float64
	for _, p := range probed.Packets {
		if p.Kind == "video" {
			if len(at) > 0 || strings.HasPrefix(p.Flags, "K") {
				at = append(at, number(p.PTS))
			} else {
				r.early++
			}
			continue
		}
		n := min(int(number(p.Size)), len(ulaw))
		r.sound = append(r.sound, sounding{number(p.PTS), ulaw[:n]})
		ulaw = ulaw[n:]
	}
	if r.early > 0 { // copying begins at a key frame
		whole := file
		file = filepath.Join(filepath.Dir(file), "key.mkv")
		if _, err := run(ctx, "ffmpeg", "-v", "error", "-nostdin", "-i", whole, "-map", "0:v", "-c", "copy", file); err != nil {
			return r, err
		}
	}
	r.pictures, err = readPicturesOf(ctx, file, s, at)
	return r, err
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// times is what stands in times.json: when each picture and each piece of sound is
// to be shown, in seconds; null: that is not known.
type times struct {
	Video      []moment `json:"video"`
	Sound      []moment `json:"sound"`
	Early      int      `json:"early"` // pictures before the first key frame, not recorded
	Complaints []string `json:"complaints"`
}

type moment struct {
	At    *float64 `json:"at"`
	Bytes int      `json:"bytes"`
}

func (m moment) seconds() float64 {
	if m.At == nil {
		return math.NaN()
	}
	return *m.At
}

// readParts reads a folder of video.h264 (Annex B), sound.ulaw and times.json.
func readParts(ctx context.Context, dir string, s size) (r recording, err error) {
	var list times
	b, err := os.ReadFile(filepath.Join(dir, "times.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return r, err
	}
	r.early, r.complaints = list.Early, list.Complaints
	ulaw, err := os.ReadFile(filepath.Join(dir, "sound.ulaw"))
	if err != nil {
		return r, err
	}
	for _, p := range list.Sound {
		n := min(p.Bytes, len(ulaw))
		r.sound = append(r.sound, sounding{p.seconds(), ulaw[:n]})
		ulaw = ulaw[n:]
	}
	var at []float64
	for _, p := range list.Video {
		at = append(at, p.seconds())
	}
	r.pictures, err = readPicturesOf(ctx, filepath.Join(dir, "video.h264"), s, at)
	return r, err
}

// readBuffers reads a folder of video.gdp and sound.gdp, as GStreamer writes them.
func readBuffers(ctx context.Context, dir string, s size) (r recording, err error) {
	film := filepath.Join(dir, "video.h264")
	f, err := os.Create(film)
	if err != nil {
		return r, err
	}
	var at []float64
	err = buffers(filepath.Join(dir, "video.gdp"), func(pts float64, data []byte) {
		if len(at) == 0 && !bytes.Contains(data, []byte{0, 0, 1, 0x65}) {
			r.early++
			return
		}
		at = append(at, pts)
		f.Write(data)
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return r, err
	}
	err = buffers(filepath.Join(dir, "sound.gdp"), func(pts float64, data []byte) {
		r.sound = append(r.sound, sounding{pts, data})
	})
	if err != nil {
		return r, err
	}
	r.pictures, err = readPicturesOf(ctx, film, s, at)
	return r, err
}

// buffers hands over what a file of the GStreamer Data Protocol holds: a header
// of 62 bytes in front of each buffer.
func buffers(file string, on func(pts float64, data []byte)) error {
	const header, isBuffer, none = 62, 1, math.MaxUint64
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for len(b) >= header {
		kind, n := binary.BigEndian.Uint16(b[4:]), int(binary.BigEndian.Uint32(b[6:]))
		if header+n > len(b) {
			return fmt.Errorf("%s is cut", file)
		}
		if kind == isBuffer {
			pts := math.NaN()
			if ns := binary.BigEndian.Uint64(b[10:]); ns != none {
				pts = float64(ns) / 1e9
			}
			on(pts, b[header:header+n])
		}
		b = b[header+n:]
	}
	return nil
}

// readPicturesOf decodes a file. Anything that ffmpeg complains about, a strip
// that can't be read, and a picture too many or too few are errors.
func readPicturesOf(ctx context.Context, film string, s size, at []float64) ([]picture, error) {
	c := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", film,
		"-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	list, err := readStrips(out, s, at)
	io.Copy(io.Discard, out)
	err = errors.Join(err, c.Wait())
	if msg := strings.TrimSpace(said.String()); msg != "" {
		err = errors.Join(err, errors.New("ffmpeg: "+msg))
	}
	if err == nil && len(list) != len(at) {
		err = fmt.Errorf("%d pictures decoded of %d received", len(list), len(at))
	}
	return list, err
}

func readStrips(r io.Reader, s size, at []float64) (list []picture, err error) {
	br := bufio.NewReaderSize(r, s.w*s.h)
	y := make([]byte, s.w*s.h)
	for {
		if _, err := io.ReadFull(br, y); err == io.EOF {
			return list, nil
		} else if err != nil {
			return list, err
		}
		n, ok := sim.ReadStrip(y, s.w, s.w, s.h)
		lamp, lok := sim.ReadLamp(y, s.w, s.w, s.h)
		if !ok || !lok {
			return list, fmt.Errorf("picture %d can't be read: it is damaged, or one before it is missing", len(list))
		}
		p := picture{seen: seen{n, lamp}, at: math.NaN()}
		if len(list) < len(at) {
			p.at = at[len(list)]
		}
		list = append(list, p)
	}
}

// run is a program's standard output; anything on its standard error is an error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil || said.Len() > 0 {
		return out, fmt.Errorf("%s: %w: %s", name, errors.Join(err, errors.New("it complains")), strings.TrimSpace(said.String()))
	}
	return out, nil
}
