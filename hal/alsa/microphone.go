package alsa

import (
	"context"
	"time"

	"iid2secure.nl/camagent/hal"
)

// captureHolds is how much a microphone's buffer holds for a late reader.
const captureHolds = 500 * time.Millisecond

// microphone is the part that opens one.
type microphone struct {
	sound *Sound
	name  string
}

// OpenMicrophone implements [hal.Microphone].
func (m microphone) OpenMicrophone(ctx context.Context) (hal.AudioStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := m.sound.openDevice(m.name, capture, preferred[0], captureHolds)
	if err != nil {
		return nil, err
	}
	rate := outRate(d.pcm.rate)
	l := &listener{
		device: d, convert: newConverter(d.pcm.rate, rate), clock: clock{rate: d.pcm.rate},
		raw: make([]int16, d.pcm.rate/framesPerSecond*d.pcm.channels),
	}
	if err := d.pcm.ioctl(calls.start, nil); err != nil {
		err = d.errorf(d.pcm.fail("starting it", err))
		_ = d.Close()
		return nil, err
	}
	return l, nil
}

// outRate is the rate that is given out: the device's if it is one of those that
// are preferred, else the highest of them that it can be brought down to.
func outRate(device int) int {
	for _, r := range preferred {
		if device >= r {
			return r
		}
	}
	return preferred[len(preferred)-1]
}

// listener is one open microphone.
type listener struct {
	*device
	convert *converter
	clock   clock
	raw     []int16 // a frame as the device gives it
	have    int     // samples of it
}

// Format implements [hal.AudioStream].
func (l *listener) Format() hal.AudioFormat {
	return hal.AudioFormat{Codec: hal.L16, Rate: l.convert.out, Channels: 1}
}

// Next implements [hal.AudioStream]. Sound that came while nobody read is lost
// if it is more than half a second; the times tell.
func (l *listener) Next(ctx context.Context) (hal.AudioFrame, error) {
	err := l.enter(ctx)
	defer l.leave()
	for err == nil {
		var f hal.AudioFrame
		if f, err = l.read(); err != nil || f.Samples > 0 {
			return f, err
		}
		err = l.interrupted(ctx)
	}
	return hal.AudioFrame{}, err
}

// read fetches what the device has, or waits; a frame without samples is none yet.
func (l *listener) read() (hal.AudioFrame, error) {
	n, err := l.pcm.move(l.raw[l.have:])
	switch {
	case err != nil:
		return hal.AudioFrame{}, l.again(err)
	case n == 0:
		if err := l.wait(-1); err != nil {
			return hal.AudioFrame{}, l.die(err)
		}
		return hal.AudioFrame{}, nil
	}
	l.have += n * l.pcm.channels
	if l.have < len(l.raw) {
		return hal.AudioFrame{}, nil
	}
	l.have = 0
	return l.frame(), nil
}

// again starts a device that ran full.
func (l *listener) again(err error) error {
	l.have = 0
	if err = l.recover("reading", err); err == nil {
		if err = l.pcm.ioctl(calls.start, nil); err != nil {
			err = l.pcm.fail("starting it", err)
		}
	}
	if err != nil {
		return l.die(err)
	}
	return nil
}

// frame makes sound of what was read.
func (l *listener) frame() hal.AudioFrame {
	samples := len(l.raw) / l.pcm.channels
	queued, _ := l.pcm.queued()
	at := l.clock.next(time.Now(), samples, queued)
	out := l.convert.push(nil, mono(make([]int16, 0, samples), l.raw, l.pcm.channels))
	return hal.AudioFrame{Data: toL16(out), Samples: len(out), Time: at}
}

// toL16 writes samples as RFC 3551, 4.5.11, has them: big endian.
func toL16(samples []int16) []byte {
	b := make([]byte, 0, 2*len(samples))
	for _, v := range samples {
		b = append(b, byte(uint16(v)>>8), byte(v))
	}
	return b
}

// clock gives samples their times: counted, by the device's rate, and drawn to
// the time at which they were there, which jitters.
type clock struct {
	rate int
	base time.Time // of the next sample
	last time.Time
}

const (
	// drawn is the part of a difference by which the clock follows.
	drawn = 16
	// offAt is from where it doesn't follow but jumps: samples were lost.
	offAt = 60 * time.Millisecond
)

// next returns when the first of so many samples was captured, that were
// fetched now, with queued more in the device.
func (c *clock) next(now time.Time, samples, queued int) time.Time {
	measured := now.Add(-c.time(samples + queued))
	if off := measured.Sub(c.base); c.base.IsZero() || off.Abs() > offAt {
		c.base = measured
	} else {
		c.base = c.base.Add(off / drawn)
	}
	t := c.base
	if !c.last.IsZero() && t.Sub(c.last) < time.Millisecond {
		t = c.last.Add(time.Millisecond)
	}
	c.last, c.base = t, c.base.Add(c.time(samples))
	return t
}

func (c *clock) time(samples int) time.Duration {
	return time.Duration(samples) * time.Second / time.Duration(c.rate)
}
