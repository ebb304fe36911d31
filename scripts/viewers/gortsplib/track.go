package main

import (
	"bufio"
	"errors"
	"os"

	"github.com/pion/rtcp"
)

// track is one medium as it is recorded.
type track struct {
	file    *os.File
	out     *bufio.Writer
	rate    float64 // of RTP time
	parts   []part
	reports []report
}

// part is a picture, or a packet of sound.
type part struct {
	rtp   uint32
	bytes int
}

// report ties an RTP time to seconds since 1970; it came behind so many parts.
// The library's own reading of the fraction of a second is wrong.
type report struct {
	rtp  uint32
	ntp  float64
	part int
}

// from1900to1970 is how much earlier NTP begins (RFC 3550, 4), in seconds.
const from1900to1970 = 2208988800

func newReport(sr *rtcp.SenderReport, part int) report {
	ntp := float64(sr.NTPTime>>32) - from1900to1970 + float64(sr.NTPTime&0xffffffff)/(1<<32)
	return report{sr.RTPTime, ntp, part}
}

func newTrack(name string, rate float64) (track, error) {
	f, err := os.Create(name)
	return track{file: f, out: bufio.NewWriter(f), rate: rate}, err
}

func (t *track) close() error { return errors.Join(t.out.Flush(), t.file.Close()) }

// moment is when a part was captured, in seconds since 1970; null: there never was a report.
type moment struct {
	At    *float64 `json:"at"`
	Bytes int      `json:"bytes,omitempty"`
}

// times maps each part by the newest report that was there, or else the first.
func (t *track) times() []moment {
	list := make([]moment, len(t.parts))
	next := 0
	for i, p := range t.parts {
		list[i].Bytes = p.bytes
		for next+1 < len(t.reports) && t.reports[next+1].part <= i {
			next++
		}
		if len(t.reports) > 0 {
			r := t.reports[next]
			at := r.ntp + float64(int32(p.rtp-r.rtp))/t.rate
			list[i].At = &at
		}
	}
	return list
}
