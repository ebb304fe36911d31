package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/hal"
)

// The film that every server under load is given: 1080p25, 2 Mbit/s, a key
// frame every 2 seconds, over and over.
const (
	filmFPS     = 25
	filmGOP     = 50
	filmBitrate = 2_000_000
	filmSeconds = 20
	filmFrames  = filmSeconds * filmFPS
)

// makeFilm encodes the film into the folder, once, and returns its path.
func makeFilm(ctx context.Context, dir string) (string, error) {
	args := strings.Fields(fmt.Sprintf("-v error -nostdin -f lavfi -i testsrc2=size=1920x1080:rate=%d,noise=alls=6:allf=t -t %d"+
		" -c:v libx264 -preset veryfast -profile:v main -pix_fmt yuv420p -b:v %[3]d -maxrate %[3]d -bufsize %[3]d"+
		" -g %[4]d -keyint_min %[4]d -sc_threshold 0 -bf 0 -x264-params aud=1 -bsf:v filter_units=remove_types=6 -f h264",
		filmFPS, filmSeconds, filmBitrate, filmGOP))
	path := filepath.Join(dir, fmt.Sprintf("film-%08x.h264", crc32.ChecksumIEEE([]byte(strings.Join(args, " ")))))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	part := path + ".part"
	if out, err := exec.CommandContext(ctx, "ffmpeg", append(args, "-y", part)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("encoding the film with ffmpeg (Debian package ffmpeg): %w: %s", err, out)
	}
	return path, os.Rename(part, path)
}

// film is the film in memory: its access units in Annex B, and which of them a
// received picture is.
type film struct {
	units   [][]byte
	numbers map[uint32]int // by fingerprint
}

// length in pictures; without a film, that of a film long enough.
func (f *film) length() int {
	if f == nil {
		return 1 << 30
	}
	return len(f.units)
}

var delimiter = []byte{0, 0, 0, 1, hal.NALAUD}

// loadFilm reads what makeFilm made.
func loadFilm(path string) (*film, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &film{numbers: map[uint32]int{}}
	for i := bytes.Index(b, delimiter); i >= 0; {
		end := len(b)
		next := bytes.Index(b[i+len(delimiter):], delimiter)
		if next >= 0 {
			end = i + len(delimiter) + next
		}
		if err := f.add(b[i:end]); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if i = end; next < 0 {
			break
		}
	}
	if len(f.units) == 0 {
		return nil, fmt.Errorf("%s: there is no picture in it", path)
	}
	return f, nil
}

func (f *film) add(unit []byte) error {
	au, err := hal.ParseAnnexB(unit, nil)
	if err != nil {
		return err
	}
	var p fingerprint
	for data := au.Data; len(data) > 4; {
		n := int(data[0])<<24 | int(data[1])<<16 | int(data[2])<<8 | int(data[3])
		p.nal(data[4 : 4+n])
		data = data[4+n:]
	}
	if _, twice := f.numbers[uint32(p)]; twice {
		return errors.New("two pictures of the film look the same")
	}
	f.numbers[uint32(p)] = len(f.units)
	f.units = append(f.units, unit)
	return nil
}

// fingerprint is a checksum of all bytes of a picture's slices, in order,
// however they were packed. Parameter sets and the like may come and go.
type fingerprint uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p *fingerprint) bytes(b []byte) {
	*p = fingerprint(crc32.Update(uint32(*p), castagnoli, b))
}

func (p *fingerprint) nal(b []byte) {
	if isSlice(b[0]) {
		p.bytes(b)
	}
}

func isSlice(header byte) bool {
	typ := header & 31
	return typ == hal.NALSlice || typ == hal.NALIDR
}
