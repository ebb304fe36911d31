// Package join makes one playable film of consecutive clips: fragmented MP4
// (ISO/IEC 14496-12) of which the head is taken once, and every fragment as it
// is, with its times and its number moved. Nothing is decoded or encoded. It
// knows no clip's name and no manifest: whether clips belong together its caller
// says. It keeps no more of a clip in memory than one fragment.
package join

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"time"
)

// track is what a moov says of one track.
type track struct {
	id     uint32
	scale  uint32 // ticks a second
	video  bool
	kind   string // handler
	sample []byte // stsd: codec, size of the picture, parameter sets
	length uint32 // of a sample, unless the fragment says another (trex)
}

// Clip is one clip's MP4, of which the head has been read.
type Clip struct {
	// Cut says that a power cut took the end: it may end in the middle of a
	// fragment, which is then left out.
	Cut bool

	r      io.Reader
	ftyp   []byte
	moov   []byte
	tracks []track
}

// Open reads the head of a clip. The reader is the clip's until it is added.
func Open(r io.Reader) (*Clip, error) {
	c := &Clip{r: r}
	for c.moov == nil {
		kind, size, err := readHead(r)
		if errors.Is(err, io.EOF) {
			err = errors.New("it has no moov")
		}
		if err != nil {
			return nil, bad(err)
		}
		body, err := readBody(r, kind, size, maxHeader)
		if err != nil {
			return nil, bad(err)
		}
		switch kind {
		case "ftyp":
			c.ftyp = body
		case "moov":
			c.moov = body
		case "moof", "mdat":
			return nil, bad(errors.New("a fragment comes before the moov"))
		}
	}
	if err := c.parse(); err != nil {
		return nil, bad(err)
	}
	return c, nil
}

// FormatError is a clip that is not as cameras make them; what was whole before
// the fault is in the film.
type FormatError struct{ Err error }

func (e *FormatError) Error() string { return "not a clip's MP4: " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FormatError) Unwrap() error { return e.Err }

func bad(err error) error { return &FormatError{err} }

func (c *Clip) parse() error {
	lengths := map[uint32]uint32{}
	err := each(c.moov, func(kind string, body []byte) error {
		switch kind {
		case "trak":
			t := track{}
			if err := t.parse(body); err != nil {
				return err
			}
			if t.id == 0 || t.scale == 0 || t.sample == nil {
				return errors.New("a track without id, clock or codec")
			}
			c.tracks = append(c.tracks, t)
		case "mvex":
			return each(body, func(kind string, body []byte) error {
				if kind != "trex" {
					return nil
				}
				id, err := number(body, 4)
				if err == nil {
					lengths[id], err = number(body, 12)
				}
				return err
			})
		}
		return nil
	})
	videos := 0
	for i := range c.tracks {
		c.tracks[i].length = lengths[c.tracks[i].id]
		if c.tracks[i].video {
			videos++
		}
	}
	if err == nil && videos != 1 {
		err = fmt.Errorf("%d tracks of pictures, want 1", videos)
	}
	return err
}

// parse reads a trak.
func (t *track) parse(b []byte) error {
	return each(b, func(kind string, body []byte) (err error) {
		switch kind {
		case "mdia", "minf", "stbl":
			return t.parse(body)
		case "tkhd":
			t.id, err = number(body, versioned(body, 12, 20))
		case "mdhd":
			t.scale, err = number(body, versioned(body, 12, 20))
		case "hdlr":
			if len(body) < 12 {
				return errShort
			}
			t.kind = string(body[8:12])
			t.video = t.kind == "vide"
		case "stsd":
			t.sample = body
		}
		return err
	})
}

// versioned is the offset of a field in version 0 or 1 of a full box.
func versioned(body []byte, v0, v1 int) int {
	if len(body) > 0 && body[0] == 1 {
		return v1
	}
	return v0
}

func (t *track) same(o track) bool {
	return t.id == o.id && t.scale == o.scale && t.kind == o.kind && bytes.Equal(t.sample, o.sample) && t.length == o.length
}

// Film is a file that clips are added to. Not for several goroutines. After an
// error that is no *FormatError it is of no use.
type Film struct {
	w      io.Writer
	tracks []*state // nil: nothing is in it yet
	number uint32   // of the next fragment
	info   Info
}

// state is how far a track is, in its ticks.
type state struct {
	track
	end   uint64 // of what is in the film
	begin uint64 // of the clip that is being added
}

// Info is what a film holds.
type Info struct {
	Frames   int // pictures
	Duration time.Duration
}

// New begins a film.
func New(w io.Writer) *Film { return &Film{w: w, number: 1} }

// Info tells what is in it.
func (f *Film) Info() Info { return f.info }

// Fits tells whether the clip can be shown with the head of the film: the same
// tracks, of the same codecs and sizes.
func (f *Film) Fits(c *Clip) bool {
	if f.tracks == nil {
		return true
	}
	if len(f.tracks) != len(c.tracks) {
		return false
	}
	for i, t := range f.tracks {
		if !t.same(c.tracks[i]) {
			return false
		}
	}
	return true
}

// Add appends a clip that fits. after is how long nothing is shown before it:
// zero, if it follows at once on what is in the film.
func (f *Film) Add(c *Clip, after time.Duration) (Info, error) {
	before := f.info
	if f.tracks == nil {
		if err := f.head(c); err != nil {
			return Info{}, err
		}
	}
	f.place(after)
	if err := f.fragments(c); err != nil && !(c.Cut && errors.Is(err, errCut)) {
		return Info{}, err
	}
	v := f.video()
	f.info.Duration = span(v.end, v.scale)
	return Info{f.info.Frames - before.Frames, f.info.Duration - before.Duration}, nil
}

func (f *Film) head(c *Clip) error {
	for _, t := range c.tracks {
		f.tracks = append(f.tracks, &state{track: t})
	}
	if c.ftyp != nil {
		if err := writeBox(f.w, "ftyp", c.ftyp); err != nil {
			return err
		}
	}
	return writeBox(f.w, "moov", c.moov)
}

func (f *Film) video() *state {
	for _, t := range f.tracks {
		if t.video {
			return t
		}
	}
	return nil // Open has seen one
}

// place says where the next clip begins: pictures go on where the last ended, and
// sound keeps step with them.
func (f *Film) place(after time.Duration) {
	v := f.video()
	v.begin = v.end + scale(uint64(max(after, 0)), v.scale, uint32(time.Second))
	for _, t := range f.tracks {
		t.begin = scale(v.begin, t.scale, v.scale)
	}
}

// scale is n·to/from, rounded down; the largest number if that is too large.
func scale(n uint64, to, from uint32) uint64 {
	hi, lo := bits.Mul64(n, uint64(to))
	if hi >= uint64(from) {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, uint64(from))
	return q
}

func span(ticks uint64, clock uint32) time.Duration {
	return time.Duration(min(scale(ticks, uint32(time.Second), clock), math.MaxInt64))
}

// fragments takes what is behind the head, each fragment only once it is whole.
func (f *Film) fragments(c *Clip) error {
	var index []byte // a moof that waits for its mdat
	for {
		kind, size, err := readHead(c.r)
		switch {
		case errors.Is(err, io.EOF) && index == nil:
			return nil
		case errors.Is(err, io.EOF):
			return bad(errCut)
		case err != nil:
			return bad(err)
		}
		switch kind {
		case "moof":
			if index, err = readBody(c.r, kind, size, maxIndex); err != nil {
				err = bad(err)
			}
		case "mdat":
			err = f.fragment(c.r, index, size)
			index = nil
		case "moov":
			err = bad(errors.New("a second moov"))
		default: // an index of the one file, or filling
			if _, err = readBody(c.r, kind, size, maxHeader); err != nil {
				err = bad(err)
			}
		}
		if err != nil {
			return err
		}
	}
}

// fragment takes one fragment: its index, and the data that are to be read.
func (f *Film) fragment(r io.Reader, index []byte, size int64) error {
	if index == nil {
		return bad(errors.New("data of no fragment"))
	}
	data, err := readBody(r, "mdat", size, maxData)
	if err == nil {
		err = f.move(index)
	}
	if err != nil {
		return bad(err)
	}
	if err := writeBox(f.w, "moof", index); err != nil {
		return err
	}
	return writeBox(f.w, "mdat", data)
}

// move moves number and times of a moof, in place.
func (f *Film) move(moof []byte) error {
	return each(moof, func(kind string, body []byte) error {
		switch kind {
		case "mfhd":
			if len(body) < 8 {
				return errShort
			}
			binary.BigEndian.PutUint32(body[4:], f.number)
			f.number++
		case "traf":
			return f.traf(body)
		}
		return nil
	})
}

// traf moves the times of a track's run of samples.
func (f *Film) traf(b []byte) error {
	var t *state
	var length uint32
	timed := false
	return each(b, func(kind string, body []byte) (err error) {
		if kind != "tfhd" && t == nil {
			return fmt.Errorf("box %q before tfhd", kind)
		}
		switch kind {
		case "tfhd":
			t, length, err = f.tfhd(body)
		case "tfdt":
			timed = true
			err = t.move(body)
		case "trun":
			if !timed {
				return errors.New("samples without a time")
			}
			var n int
			if n, err = t.run(body, length); err == nil && t.video {
				f.info.Frames += n
			}
		}
		return err
	})
}

// Flags of tfhd and trun (ISO/IEC 14496-12, 8.8.7 and 8.8.8).
const (
	tfhdBase     = 0x000001
	tfhdEntry    = 0x000002
	tfhdDuration = 0x000008

	trunOffset   = 0x000001
	trunFirst    = 0x000004
	trunDuration = 0x000100
	trunSize     = 0x000200
	trunFlags    = 0x000400
	trunShift    = 0x000800
)

// tfhd finds the track, and how long its samples last by default.
func (f *Film) tfhd(body []byte) (*state, uint32, error) {
	_, flags, b, err := full(body)
	if err != nil {
		return nil, 0, err
	}
	id, err := number(b, 0)
	if err != nil {
		return nil, 0, err
	}
	if flags&tfhdBase != 0 {
		return nil, 0, errors.New("data by its place in the file: it can't be moved")
	}
	for _, t := range f.tracks {
		if t.id != id {
			continue
		}
		if flags&tfhdDuration == 0 {
			return t, t.length, nil
		}
		at := 4
		if flags&tfhdEntry != 0 {
			at += 4
		}
		length, err := number(b, at)
		return t, length, err
	}
	return nil, 0, fmt.Errorf("a fragment of track %d, which there is not", id)
}

// move puts a tfdt to its place in the film, and never before what is there.
func (t *state) move(body []byte) error {
	version, _, b, err := full(body)
	switch {
	case err != nil:
		return err
	case version == 1 && len(b) >= 8:
		t.end = max(t.end, add(t.begin, binary.BigEndian.Uint64(b)))
		binary.BigEndian.PutUint64(b, t.end)
	case version == 0 && len(b) >= 4:
		t.end = max(t.end, add(t.begin, uint64(binary.BigEndian.Uint32(b))))
		if t.end > math.MaxUint32 {
			return errors.New("the film is too long for its 32-bit times")
		}
		binary.BigEndian.PutUint32(b, uint32(t.end))
	default:
		return errShort
	}
	if t.end > math.MaxInt64 {
		return errors.New("a time beyond all measure")
	}
	return nil
}

// add adds, and stays at the largest number.
func add(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// run counts the samples of a trun and how long they last.
func (t *state) run(body []byte, length uint32) (int, error) {
	_, flags, b, err := full(body)
	if err != nil {
		return 0, err
	}
	count, err := number(b, 0)
	if err != nil {
		return 0, err
	}
	at, entry := 4, 0
	for _, o := range []uint32{trunOffset, trunFirst} {
		if flags&o != 0 {
			at += 4
		}
	}
	for _, o := range []uint32{trunDuration, trunSize, trunFlags, trunShift} {
		if flags&o != 0 {
			entry += 4
		}
	}
	if flags&trunDuration == 0 {
		// However many samples it claims: more than a fragment could hold are none.
		if entry == 0 || uint64(len(b)) < uint64(at)+uint64(count)*uint64(entry) {
			return 0, errShort
		}
		t.end = add(t.end, uint64(count)*uint64(length))
		return int(count), nil
	}
	if uint64(len(b)) < uint64(at)+uint64(count)*uint64(entry) {
		return 0, errShort
	}
	for i := range int(count) {
		t.end = add(t.end, uint64(binary.BigEndian.Uint32(b[at+i*entry:])))
	}
	return int(count), nil
}
