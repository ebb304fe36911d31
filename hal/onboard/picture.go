package onboard

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp"

	"iid2secure.nl/camagent/hal"
)

const (
	maxPicture = h264.MaxAccessUnitSize
	maxNALs    = 512
	// maxPieces is how many packets one NAL unit may take; the decoder itself
	// counts only bytes.
	maxPieces = 16384
)

// picture is one access unit as it came; its data is nil if some of it did not.
type picture struct {
	data   []byte // AVC format
	params int
	key    bool
	stamp  uint32
	at     time.Time // when its first packet came
}

// assembler makes pictures of RTP packets (RFC 6184). The NAL units are
// gortsplib's decoder's work; it is told that each packet is the last of its
// picture, so that it hands them over at once and holds nothing of a picture.
// What belongs to one picture is decided here: a picture ends with its marker,
// or where the next one begins.
type assembler struct {
	mode    int // packetisation mode
	decoder *rtph264.Decoder
	hand    func(picture)
	gap     func() // packets are missing

	sps, pps [][]byte // the newest of the stream's parameter sets

	started bool
	next    uint16 // sequence number
	pieces  int

	open    bool // a picture is in the making
	now     picture
	nals    [][]byte
	size    int
	coded   bool // it has slices
	torn    bool // parts are missing
	handed  bool // there was a picture before, with
	before  uint32
	endless bool // markers end slices, not pictures: don't look at them
}

func (a *assembler) reset() {
	a.pieces = 0
	a.decoder = &rtph264.Decoder{PacketizationMode: a.mode}
}

// add takes one packet.
func (a *assembler) add(p *rtp.Packet, at time.Time) {
	if a.started && p.SequenceNumber != a.next {
		a.reset()
		a.torn = a.open
		a.gap()
	}
	a.started, a.next = true, p.SequenceNumber+1
	if len(p.Payload) == 0 {
		return
	}
	if a.open && p.Timestamp != a.now.stamp {
		a.finish()
	}
	if !a.open {
		a.begin(p.Timestamp, at)
	}
	a.take(a.decode(p), at)
	if p.Marker && a.coded && !a.endless {
		a.finish()
	}
}

// decode returns the NAL units that end with this packet.
func (a *assembler) decode(p *rtp.Packet) [][]byte {
	last := *p
	last.Marker = true
	nals, err := a.decoder.Decode(&last)
	switch {
	case err == nil:
		a.pieces = 0
		return nals
	case errors.Is(err, rtph264.ErrMorePacketsNeeded):
		if a.pieces++; a.pieces < maxPieces {
			return nil
		}
	}
	a.reset()
	a.torn = true
	return nil
}

func (a *assembler) begin(stamp uint32, at time.Time) {
	a.open, a.torn, a.coded = true, false, false
	a.now = picture{stamp: stamp, at: at}
	a.nals, a.size = a.nals[:0], 0
}

// take adds NAL units to the picture; the first slice of another one with the
// same time stamp ends it.
func (a *assembler) take(nals [][]byte, at time.Time) {
	for _, n := range nals {
		n = bytes.TrimRight(n, "\x00")
		if len(n) < 2 {
			continue
		}
		if a.coded && isSlice(n) && beginsPicture(n) {
			stamp := a.now.stamp
			a.finish()
			a.begin(stamp, at)
		}
		if len(a.nals) >= maxNALs || a.size+4+len(n) > maxPicture {
			a.torn = true
			continue
		}
		a.coded = a.coded || isSlice(n)
		a.nals = append(a.nals, n)
		a.size += 4 + len(n)
	}
}

// isSlice: of slices in partitions, which no camera makes, the first part.
func isSlice(n []byte) bool { t := n[0] & 31; return t == hal.NALSlice || t == 2 || t == hal.NALIDR }

// beginsPicture tells whether a slice begins with the picture's first macroblock.
func beginsPicture(n []byte) bool { return n[1]&0x80 != 0 }

// finish hands the picture over.
func (a *assembler) finish() {
	a.open = false
	defer clear(a.nals[:cap(a.nals)]) // they hold packets
	if !a.coded && !a.torn {
		a.remember()
		return
	}
	if !a.torn && !a.whole() {
		// A marker stood within the last picture, and this is the rest of it.
		a.endless = a.endless || a.handed && a.now.stamp == a.before
		a.torn = true
	}
	a.coded, a.handed, a.before = false, true, a.now.stamp
	if !a.torn {
		a.remember()
		a.build()
	}
	a.hand(a.now)
}

// whole tells whether the picture has its beginning.
func (a *assembler) whole() bool {
	i := slices.IndexFunc(a.nals, isSlice)
	return i >= 0 && beginsPicture(a.nals[i])
}

// remember keeps parameter sets, each kind by itself.
func (a *assembler) remember() {
	keep := func(kept [][]byte, kind byte) [][]byte {
		var list [][]byte
		for _, n := range a.nals {
			if n[0]&31 == kind {
				list = append(list, bytes.Clone(n))
			}
		}
		if list == nil {
			return kept
		}
		return list
	}
	a.sps, a.pps = keep(a.sps, hal.NALSPS), keep(a.pps, hal.NALPPS)
}

// build copies the NAL units into the access unit. A key frame gets all
// parameter sets in front, another one those that came with it; without them a
// key frame is of no use.
func (a *assembler) build() {
	var front [][]byte
	for _, n := range a.nals {
		a.now.key = a.now.key || n[0]&31 == hal.NALIDR
		if isParams(n) {
			front = append(front, n)
		}
	}
	if a.now.key {
		if len(a.sps) == 0 || len(a.pps) == 0 {
			return
		}
		front = append(append(front[:0], a.sps...), a.pps...)
	}
	size := a.size
	for _, n := range front {
		size += 4 + len(n)
	}
	data := make([]byte, 0, size)
	for _, n := range front {
		data = hal.AppendAVC(data, n)
	}
	a.now.params = len(data)
	for _, n := range a.nals {
		if t := n[0] & 31; !isParams(n) && (t < hal.NALAUD || t > 12) {
			data = hal.AppendAVC(data, n)
		}
	}
	a.now.data = data
}

func isParams(n []byte) bool { t := n[0] & 31; return t == hal.NALSPS || t == hal.NALPPS }
