package rtsp

import (
	"errors"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// largestShared is how large a frame may be on the wire that the fan sends; one
// that is larger is packed for each viewer by itself, in pieces.
const largestShared = 512 << 10

// errNotShared tells that a frame is larger than that.
var errNotShared = errors.New("frame is too large to be shared")

// shared is the sample that a fan gives to its viewers: packed when the first of
// them wants it, and relabelled in place for each.
type shared struct {
	media.Sample
	moment
	sound *hal.AudioFormat // what the stream has now

	out    gather // its packets, and behind them one viewer's report
	packed bool
	size   int    // bytes of the packets
	totals track  // what they add to the counts of a track
	ts     uint32 // their timestamp as they are now

	frames uint64 // access units and bytes that are out
	bytes  uint64
}

// give sends a sample to all in step who have not got it; after is its position
// plus one.
func (f *fan) give(s *media.Sample, after uint64, now time.Time) {
	c := &f.shared
	c.Sample, c.packed, c.sound, c.frames, c.bytes = *s, false, nil, 0, 0
	c.now = now
	if s.Kind == media.Audio {
		c.sound = f.stream.Audio()
	}
	keep := f.viewers[:0]
	for _, v := range f.viewers {
		if v.from >= after || f.giveOne(v) {
			keep = append(keep, v)
		}
	}
	clear(f.viewers[len(keep):])
	f.viewers, c.Sample = keep, media.Sample{}
	f.srv.count.frames.Add(c.frames)
	f.srv.count.bytes.Add(c.bytes)
}

// giveOne tells whether the viewer stays in step.
func (f *fan) giveOne(v *viewer) bool {
	c := &f.shared
	t := v.track(&c.Sample, c.sound)
	if t == nil {
		return true
	}
	if !c.packed {
		f.pack(t)
	}
	if c.size == 0 && c.out.err == nil {
		return true // sound that cannot be sent
	}
	if held, err := v.direct.hold(false); err != nil {
		f.end(v, err)
		return false
	} else if !held {
		f.leave(v, frame{Sample: c.Sample})
		return false
	}
	if c.out.err != nil {
		v.direct.release()
		f.leave(v, frame{Sample: c.Sample})
		return false
	}
	return f.send(v, t)
}

// send gives the sample to a viewer whose connection is held.
func (f *fan) send(v *viewer, t *track) bool {
	c := &f.shared
	l := v.label(t, &c.Sample, &c.moment)
	b := c.relabel(v, t, l)
	n, err := v.direct.sendNow(f.writer, b)
	part := err == nil && n > 0 && n < len(b)
	if !part {
		v.direct.release()
	}
	switch {
	case err != nil:
		f.end(v, err)
		return false
	case n < len(b):
		f.leave(v, frame{Sample: c.Sample, label: l, labelled: true, out: n, held: part})
		return false
	}
	t.count(int(c.totals.packets), int(c.totals.octets))
	t.started, t.last, t.reportedIn = true, l.ts, v.line.round
	c.frames += v.saw(c.Kind)
	c.bytes += uint64(n)
	return true
}

// pack makes the sample's packets, for nobody yet.
func (f *fan) pack(t *track) {
	c := &f.shared
	c.moment = f.moment(&c.Sample, t.rate, c.now)
	c.packed, c.totals, c.ts = true, track{}, 0
	c.out = gather{buf: c.out.buf[:0], most: f.largest, send: tooLarge}
	c.totals.pack(&c.out, &c.Sample, label{})
	c.size = len(c.out.buf)
	c.out.most += 1 << 10 // a report
}

func tooLarge([]byte) error { return errNotShared }

// relabel makes the packets v's, and adds a report when it is time.
func (c *shared) relabel(v *viewer, t *track, l label) []byte {
	c.out.buf = c.out.buf[:c.size]
	t.relabel(c.out.buf, l.ts-c.ts)
	if c.ts = l.ts; c.Kind == media.Audio && c.Format.Codec != hal.AAC {
		begins(c.out.buf, l.begin)
	}
	if t.reportedIn != v.line.round {
		after := *t
		after.count(int(c.totals.packets), int(c.totals.octets))
		v.conclude(&after, &c.out, l, c.since)
	}
	return c.out.buf
}
