package clip

import (
	"bytes"
	"fmt"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

const (
	videoTrack = 1
	soundTrack = 2
	videoClock = 90000
	// fragmentHead and sampleHead bound what a fragment costs beyond its samples.
	fragmentHead = 256
	sampleHead   = 16
)

// clip is one MP4 in the making. A picture's duration is known when the next
// one is: the newest waits in last. Positions are capture times relative to
// zero, so that rounding never adds up and sound stays in step with pictures.
type clip struct {
	cfg    *Config
	sink   Sink
	zero   time.Time        // capture of the first picture
	params []byte           // its parameter sets
	format *hal.AudioFormat // what the stream sounded like then; nil: silence
	sps    []byte
	pps    []byte

	buf     *buffers
	seq     uint32
	written int // bytes given to the sink

	last     media.Sample // the newest picture
	first    uint64       // number of the first
	frames   int          // pictures so far, last included
	lastDur  uint64       // of the picture before last, in ticks
	video    track        // of the fragment
	sounds   *sounds      // nil: no sound track
	gopStart time.Time
	gopSize  int    // size() then
	placed   int    // pictures that are in a fragment, or were
	newest   uint64 // number of the last of them
	synced   []upTo // the fragments that are safe

	order    Order     // it is closed with
	want     Order     // what is wanted of the newest picture
	changed  bool      // that is not what it began with
	unwanted time.Time // since when nothing is wanted; zero: something is
	asked    time.Time // when a key frame was asked for; zero: not yet
}

// upTo is where a fragment ends: the number of its last picture, and the ticks of
// all until then.
type upTo struct{ newest, ticks uint64 }

// before is when the picture before this one ended, as far as fragments tell.
func (c *clip) before(seq uint64) time.Time {
	end := c.zero
	for _, s := range c.synced {
		if s.newest < seq {
			end = c.zero.Add(time.Duration(s.ticks) * time.Second / videoClock)
		}
	}
	return end
}

// track collects the samples of one track for a fragment. base is the position
// of the first, next that of the one to come.
type track struct {
	id         uint32
	samples    []sample
	nonSync    int // how many of them
	base, next uint64
	bytes      int
}

type sample struct {
	payload  []byte // the ring's, or the expander's
	duration uint32
	sync     bool
}

func (t *track) add(payload []byte, duration uint64, sync bool) {
	t.samples = append(t.samples, sample{payload, uint32(duration), sync})
	if !sync {
		t.nonSync++
	}
	t.next += duration
	t.bytes += len(payload) + sampleHead
}

func (t *track) reset() {
	clear(t.samples)
	t.samples, t.nonSync, t.base, t.bytes = t.samples[:0], 0, t.next, 0
}

// buffers are used again by one clip after another.
type buffers struct {
	head     seekablebuffer.Buffer // as of params and format
	params   []byte
	format   *hal.AudioFormat
	fragment []byte
	samples  []sample // of pictures
}

// newClip prepares a clip that begins with the key frame s.
func newClip(s *media.Sample, format *hal.AudioFormat, cfg *Config, buf *buffers, log *zap.Logger) (*clip, error) {
	au := s.Unit()
	c := &clip{cfg: cfg, buf: buf, zero: s.Time, params: bytes.Clone(s.Data[:s.Params]), format: format, first: s.Seq,
		video: track{id: videoTrack, samples: buf.samples[:0]}}
	if c.sps, c.pps = au.ParameterSets(); c.sps == nil || c.pps == nil {
		return nil, fmt.Errorf("frame %d: key frame without SPS or PPS", s.Seq)
	}
	if format != nil {
		var err error
		if c.sounds, err = newSounds(format); err != nil {
			log.Warn("recording without sound", zap.Error(err))
		}
	}
	if err := c.marshalHeader(); err != nil {
		return nil, fmt.Errorf("frame %d: %w", s.Seq, err)
	}
	return c, nil
}

// marshalHeader makes ftyp and moov; they are mostly those of the clip before.
func (c *clip) marshalHeader() error {
	if bytes.Equal(c.params, c.buf.params) && c.format.Same(c.buf.format) {
		return nil
	}
	c.buf.params = nil
	init := fmp4.Init{Tracks: []*fmp4.InitTrack{{
		ID: videoTrack, TimeScale: videoClock, Codec: &mp4.CodecH264{SPS: c.sps, PPS: c.pps},
	}}}
	if c.sounds != nil {
		init.Tracks = append(init.Tracks, &fmp4.InitTrack{
			ID: soundTrack, TimeScale: uint32(c.sounds.clock), Codec: c.sounds.codec,
		})
	}
	c.buf.head.Reset()
	if err := init.Marshal(&c.buf.head); err != nil {
		return err
	}
	c.buf.params, c.buf.format = c.params, c.format
	return nil
}

// writeHeader begins the file.
func (c *clip) writeHeader() error { return c.write(c.buf.head.Bytes()) }

func (c *clip) write(p []byte) error {
	n, err := c.sink.Write(p)
	c.written += n
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// picture takes the next picture.
func (c *clip) picture(s *media.Sample) error {
	if c.frames > 0 {
		if err := c.place(s.Time); err != nil {
			return err
		}
	}
	if s.Key {
		c.gopStart, c.gopSize = s.Time, c.size()
	}
	c.last = *s
	c.frames++
	return nil
}

// place puts the newest picture, which lasts until end, into the fragment.
func (c *clip) place(end time.Time) error {
	pos := media.Ticks(end.Sub(c.zero), videoClock)
	duration := uint64(max(pos-int64(c.video.next), 1))
	payload := c.last.Data[c.last.Params:]
	if c.full(duration, len(payload)) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.video.add(payload, duration, c.last.Key)
	c.lastDur = duration
	c.placed, c.newest = c.placed+1, c.last.Seq
	return nil
}

// full tells whether the fragment must be written before a picture is added.
func (c *clip) full(duration uint64, size int) bool {
	span := c.video.next + duration - c.video.base
	return len(c.video.samples) > 0 &&
		(span > uint64(media.Ticks(c.cfg.MaxFragment, videoClock)) || c.pending()+size+sampleHead > c.cfg.FragmentBytes)
}

// pending is the size of the fragment so far.
func (c *clip) pending() int {
	n := fragmentHead + c.video.bytes
	if c.sounds != nil {
		n += c.sounds.track.bytes
	}
	return n
}

// size is what the clip comes to with all that was taken.
func (c *clip) size() int { return c.written + c.pending() + len(c.last.Data) + sampleHead }

// flush writes the fragment, if there is anything in it.
func (c *clip) flush() error {
	tracks := [2]*track{&c.video, &c.video}
	list := tracks[:1]
	if c.sounds != nil {
		tracks[1] = &c.sounds.track
		list = tracks[:2]
	}
	if len(c.video.samples) == 0 && (c.sounds == nil || len(c.sounds.track.samples) == 0) {
		return nil
	}
	var err error
	if c.buf.fragment, err = fragment(c.buf.fragment[:0], c.seq, list...); err != nil {
		return fmt.Errorf("muxing: %w", err)
	}
	c.seq++
	c.video.reset()
	c.buf.samples = c.video.samples
	if c.sounds != nil {
		c.sounds.reset()
	}
	if err := c.write(c.buf.fragment); err != nil {
		return err
	}
	if err := c.sink.Sync(c.info(false)); err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	c.synced = append(c.synced, upTo{c.newest, c.video.next})
	return nil
}

// sound takes a frame of sound. What was captured before the first picture is
// the clip's before.
func (c *clip) sound(s *media.Sample) error {
	if c.sounds == nil || s.Time.Before(c.zero) || !s.Format.Same(c.format) {
		return nil
	}
	if c.sounds.jumps(s.Time.Sub(c.zero)) || c.pending()+2*len(s.Data) > c.cfg.FragmentBytes {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.sounds.add(s, s.Time.Sub(c.zero))
	return nil
}

// complete writes the rest; the last picture lasts until end, or if that is
// zero as long as the one before.
func (c *clip) complete(end time.Time) error {
	if end.IsZero() {
		end = c.last.Time.Add(c.frameTime())
	}
	if err := c.place(end); err != nil {
		return err
	}
	return c.flush()
}

// info is of the fragments written.
func (c *clip) info(cut bool) Info {
	return Info{
		Frames: c.placed, FirstFrame: c.first, LastFrame: c.newest,
		Duration: time.Duration(c.video.next) * time.Second / videoClock, Cut: cut, Order: c.order,
	}
}
