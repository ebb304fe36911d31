package rtsp

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pion/rtcp"
)

// timeline is the one clock of a viewer's picture and sound. All of a stream
// have one zero, so that what is captured when is worked out once for them.
type timeline struct {
	wall  time.Time // what the wall clock says zero was
	round int       // of reports
	due   time.Time // capture time from which on the next round begins
}

// advance begins a new round of reports when it is time to. The wall clock is
// read once a round: a step of it hits picture and sound together.
func (l *timeline) advance(zero, captured, now time.Time) {
	if l.round > 0 && captured.Before(l.due) {
		return
	}
	l.round++
	l.due = captured.Add(reportEvery)
	l.wall = now.Round(0).Add(-now.Sub(zero))
}

// wallTime is what the wall clock says of something captured since zero.
func (l *timeline) wallTime(since time.Duration) time.Time { return l.wall.Add(since) }

// pictureStamp gives a picture its timestamp, at ticks since zero. Two pictures never share one:
// receivers would take them for one; nor does it go back within a second, however
// close pictures are.
func (t *track) pictureStamp(at int64) uint32 {
	ts := t.base + uint32(at)
	if back := int32(t.last - ts); t.started && back >= 0 && int64(back) < t.rate {
		ts = t.last + 1
	}
	return ts
}

// report adds a sender report (RFC 3550, 6.4.1) that ties timestamp ts to the
// wall-clock time of the frame that has it. It says that instead of the present
// moment, so that a receiver may use it at once even while it is being given
// frames from some time back. The name goes with it: receivers synchronise
// tracks of one name. It allocates nothing.
func (t *track) report(g *gather, ts uint32, wall time.Time, name string) {
	const sender, item = 28, 10 // bytes in front of the name, which zeros end
	described := (item + len(name) + 4) &^ 3
	b := g.packet(t.channel+1, sender+described)
	clear(b)
	put := binary.BigEndian
	b[0], b[1], b[3] = 2<<6, byte(rtcp.TypeSenderReport), sender/4-1
	put.PutUint32(b[4:], t.ssrc)
	put.PutUint64(b[8:], ntpTime(wall))
	put.PutUint32(b[16:], ts)
	put.PutUint32(b[20:], t.packets)
	put.PutUint32(b[24:], t.octets)
	b = b[sender:]
	b[0], b[1], b[3] = 2<<6|1, byte(rtcp.TypeSourceDescription), byte(described/4-1)
	put.PutUint32(b[4:], t.ssrc)
	b[8], b[9] = byte(rtcp.SDESCNAME), byte(len(name))
	copy(b[item:], name)
}

// goodbye tells a receiver that nothing more comes (RFC 3550, 6.6).
func (t *track) goodbye(g *gather) {
	b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: t.ssrc}, &rtcp.Goodbye{Sources: []uint32{t.ssrc}}})
	t.control(g, b, err)
}

func (t *track) control(g *gather, b []byte, err error) {
	if err != nil {
		g.err = fmt.Errorf("make RTCP: %w", err)
		return
	}
	copy(g.packet(t.channel+1, len(b)), b)
}

// ntpTime is t as NTP has it: seconds since 1900 and a binary fraction.
func ntpTime(t time.Time) uint64 {
	const from1900to1970 = 2208988800
	return uint64(t.Unix()+from1900to1970)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
