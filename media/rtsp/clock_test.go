package rtsp

import (
	"bytes"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

// Sound and picture are on one clock, told from the first second.
func TestM2_SoundAndPictureShareOneClock(t *testing.T) {
	t.Parallel()
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.stream.SetAudio(&hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1})
			c, desc := playWithSound(r, transport)
			w := watchClocks(t, c, desc)
			_, err := c.Play(nil)
			require.NoError(t, err)
			for w.count() < 40 {
				select {
				case <-w.news:
				case <-time.After(patience):
					t.Fatal("no packets any more")
				}
			}
			w.check(r)
		})
	}
}

func playWithSound(r *rig, transport gortsplib.Transport) (*gortsplib.Client, *description.Session) {
	r.play()
	return r.client(transport, "main")
}

// clocks notes, by medium, what sender reports say and which timestamps came.
type clocks struct {
	t      *testing.T
	mu     sync.Mutex
	report map[string]*rtcp.SenderReport
	name   map[string]string
	first  map[string]*rtp.Packet
	slice  *rtp.Packet    // first fragment of the first key picture
	before map[string]int // packets that came before the first report
	n      int
	news   chan struct{}
}

func watchClocks(t *testing.T, c *gortsplib.Client, desc *description.Session) *clocks {
	w := &clocks{t: t, report: map[string]*rtcp.SenderReport{}, name: map[string]string{}, first: map[string]*rtp.Packet{},
		before: map[string]int{}, news: make(chan struct{}, 10000)}
	require.Len(t, desc.Medias, 2)
	c.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		k := string(m.Type)
		if w.first[k] == nil {
			w.first[k] = p.Clone()
		}
		if w.report[k] == nil && p.Timestamp != w.first[k].Timestamp {
			w.before[k]++
		}
		if m.Type == description.MediaTypeAudio {
			w.n++
		} else if w.slice == nil && p.Payload[0]&31 == fuA && p.Payload[1] == 0x80|hal.NALIDR {
			w.slice = p.Clone()
		}
		w.news <- struct{}{}
	})
	c.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch p := p.(type) {
		case *rtcp.SenderReport:
			if w.report[string(m.Type)] == nil {
				w.report[string(m.Type)] = p
			}
		case *rtcp.SourceDescription:
			w.name[string(m.Type)] = p.Chunks[0].Items[0].Text
		}
	})
	return w
}

func (w *clocks) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// check computes as a receiver does when the first sound and the first picture
// were captured, and compares with when they were.
func (w *clocks) check(r *rig) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.t
	for _, k := range []string{"video", "audio"} {
		require.NotNil(t, w.report[k], "%s has no sender report", k)
		require.LessOrEqual(t, w.before[k], 1, "%s packets of a later time before the first report", k)
		require.Equal(t, w.first[k].SSRC, w.report[k].SSRC)
	}
	require.NotEmpty(t, w.name["video"])
	require.Equal(t, w.name["video"], w.name["audio"], "receivers synchronise tracks of one name")
	wall := func(k string, rate float64) time.Time {
		sr := w.report[k]
		seconds := float64(int32(w.first[k].Timestamp-sr.RTPTime)) / rate
		return fromNTP(sr.NTPTime).Add(time.Duration(seconds * float64(time.Second)))
	}
	sound := r.start.Add(time.Duration(w.first["audio"].Payload[0]) * interval / 2)
	picture := r.start.Add(time.Duration(r.pictureOf(t, w.slice.Payload[2:])) * interval)
	require.Equal(t, w.first["video"].Timestamp, w.slice.Timestamp)
	require.WithinDuration(t, picture, wall("video", 90000), 5*time.Millisecond, "picture")
	require.WithinDuration(t, sound, wall("audio", 8000), 5*time.Millisecond, "sound")
}

// pictureOf tells which key picture begins with these bytes.
func (r *rig) pictureOf(t *testing.T, begin []byte) int {
	t.Helper()
	for i, u := range r.units() {
		for n := range hal.SplitAVC(u) {
			if n[0]&31 == hal.NALIDR && bytes.HasPrefix(n[1:], begin) {
				return i
			}
		}
	}
	t.Fatal("the first picture was never pushed")
	return 0
}

// A step of the wall clock moves no timestamp, and is told by the next report.
func TestR1_StepOfTheWallClockTearsNothing(t *testing.T) {
	t.Parallel()
	const steps = 100 // pictures before the step, and after
	for _, by := range []time.Duration{time.Hour, -time.Hour, 300 * time.Millisecond, -20 * time.Second} {
		zero := time.Now()
		v := &viewer{fan: &fan{zero: zero}}
		tr := &track{rate: 90000, base: 1<<32 - 90000} // wraps around meanwhile
		told := 0
		for i := range 2 * steps {
			at := zero.Add(time.Duration(i) * interval)
			want := at.Round(0)
			if i >= steps {
				want = want.Add(by)
				at = step(at, by)
			}
			s := &media.Sample{Kind: media.Video, Time: at}
			m := v.fan.moment(s, tr.rate, at.Add(time.Millisecond))
			round := v.line.round
			l := v.label(tr, s, &m)
			require.Equal(t, tr.base+uint32(i*3600), l.ts, "picture %d, step %v", i, by)
			if v.line.round != round {
				told++
				require.WithinDuration(t, want, v.line.wallTime(m.since), time.Millisecond, "report with picture %d, step %v", i, by)
			}
			tr.started, tr.last = true, l.ts
		}
		require.InDelta(t, 2*steps*interval/reportEvery, told, 1, "reports, step %v", by)
	}
}

// step gives a time the wall-clock reading that it would have after a step of the
// clock, and leaves its monotonic reading as it is, which no function does.
func step(at time.Time, by time.Duration) time.Time {
	type layout struct { // of a time.Time
		wall uint64
		ext  int64
		loc  *time.Location
	}
	stepped := at.Add(by)
	(*layout)(unsafe.Pointer(&stepped)).ext = (*layout)(unsafe.Pointer(&at)).ext
	return stepped
}

func fromNTP(v uint64) time.Time {
	return time.Unix(int64(v>>32)-2208988800, int64(v&0xffffffff*uint64(time.Second)>>32))
}
