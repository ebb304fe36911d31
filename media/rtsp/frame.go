package rtsp

import (
	"errors"
	"os"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// errBusy tells that a connection took less than a whole frame.
var errBusy = errors.New("the connection takes no more at once")

// memoryWait is until the kernel is asked again that has no memory for TCP.
const memoryWait = 20 * time.Millisecond

// label is what one viewer calls a sample.
type label struct {
	ts    uint32
	begin bool // sound: it begins anew, it does not follow what was before
}

// frame is a sample on its way to one viewer. Its packets are not kept while it
// waits: they are made again, the same, out of what is here and of a track that
// stays as it was before the frame until all of it is out.
type frame struct {
	media.Sample // no Data: there is none
	label
	labelled bool
	out      int  // bytes of its packets that are sent
	held     bool // the connection is, since it has got a part of them
}

// track is where a sample goes, nil: the viewer does not get it. sound is what
// the stream has now: what the viewer was told of may have ended, at once.
func (v *viewer) track(s *media.Sample, sound *hal.AudioFormat) *track {
	i := int(s.Kind) // tracks are in the order of kinds
	if i >= len(v.tracks) || !v.tracks[i].on {
		return nil
	}
	if s.Kind == media.Audio && !(v.offer.sound.Same(sound) && sound.Same(s.Format)) {
		return nil
	}
	return &v.tracks[i]
}

// moment is when a sample was captured: the same for all viewers of a stream.
type moment struct {
	captured time.Time
	since    time.Duration // the stream's zero
	ticks    int64         // that is, at the rate of the sample's timestamps
	now      time.Time     // when it is sent
}

func (f *fan) moment(s *media.Sample, rate int64, now time.Time) moment {
	since := s.Time.Sub(f.zero)
	return moment{captured: s.Time, since: since, ticks: media.Ticks(since, rate), now: now}
}

// label puts the next sample of a track on the viewer's clocks.
func (v *viewer) label(t *track, s *media.Sample, m *moment) label {
	v.line.advance(v.fan.zero, m.captured, m.now)
	if s.Kind == media.Video {
		return label{ts: t.pictureStamp(m.ticks)}
	}
	at, begin := t.sound.stamp(m.ticks, soundTicks(s.Format, s.Samples), t.rate)
	return label{ts: t.base + uint32(at), begin: begin}
}

// pack makes the packets of a sample.
func (t *track) pack(g *gather, s *media.Sample, l label) {
	if s.Kind == media.Video {
		t.video(g, s.Data, l.ts)
	} else {
		t.audio(g, s.Format, s, l.ts, l.begin)
	}
}

// conclude ends the frame that a track has packed, with a report when it is time.
func (v *viewer) conclude(t *track, g *gather, l label, since time.Duration) {
	t.started, t.last = true, l.ts
	if t.reportedIn != v.line.round {
		t.reportedIn = v.line.round
		t.report(g, l.ts, v.line.wallTime(since), v.name)
	}
}

// deliver sends one sample from the viewer's own goroutine.
func (v *viewer) deliver(s *media.Sample, now time.Time) error {
	t := v.track(s, v.offer.stream.Audio())
	if t == nil {
		return nil
	}
	m := v.fan.moment(s, t.rate, now)
	v.rest = frame{Sample: *s, label: v.label(t, s, &m), labelled: true}
	defer func() { v.rest = frame{} }()
	if v.direct != nil {
		return v.deliverRest()
	}
	return v.pass()
}

// deliverRest sends what is not out of v.rest, however long that takes while the
// connection takes something now and then.
func (v *viewer) deliverRest() error {
	if !v.rest.held {
		if _, err := v.direct.hold(true); err != nil {
			return err
		}
	}
	defer v.direct.release()
	var late error
	for first := true; ; first = false {
		before := v.rest.out
		err := v.pass()
		switch moved := v.rest.out > before; {
		case !errors.Is(err, errBusy):
			return err
		case late != nil && !moved:
			return late
		case !first && !moved:
			time.Sleep(memoryWait) // it has room, but the kernel has none for it
		}
		if late = v.direct.ready(); late != nil && !errors.Is(late, os.ErrDeadlineExceeded) {
			return late
		}
	}
}

// pass packs v.rest and sends it, or what a direct sink takes of it. The buffer
// is lent for that long only: viewers that wait hold none.
func (v *viewer) pass() error {
	t := v.tracks[v.rest.Kind]
	buf := v.srv.buffers.Get().(*[]byte)
	v.out = gather{buf: (*buf)[:0], send: v.send}
	v.skip = v.rest.out
	t.pack(&v.out, &v.rest.Sample, v.rest.label)
	v.conclude(&t, &v.out, v.rest.label, v.rest.Time.Sub(v.fan.zero))
	v.out.flush()
	v.srv.buffers.Put(buf)
	v.out.buf = nil
	if v.out.err != nil {
		return v.out.err
	}
	v.tracks[v.rest.Kind] = t
	v.srv.count.frames.Add(v.saw(v.rest.Kind))
	v.srv.count.bytes.Add(v.out.sent)
	return nil
}

// sendRest sends what is not out of a piece of v.rest.
func (v *viewer) sendRest(b []byte) error {
	n := min(v.skip, len(b))
	v.skip -= n
	if b = b[n:]; len(b) == 0 {
		return nil
	}
	n, err := v.direct.sendNow(v.writer, b)
	v.rest.out += n
	if err == nil && n < len(b) {
		err = errBusy
	}
	return err
}

// saw counts a sample that is out, and returns how many access units that is.
func (v *viewer) saw(kind media.Kind) uint64 {
	if kind != media.Video {
		return 0
	}
	v.seen.Add(1)
	return 1
}
