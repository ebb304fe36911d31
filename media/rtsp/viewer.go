package rtsp

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/media"
)

// Why a viewer ended.
var (
	errTornDown = errors.New("torn down by the viewer")
	errDropped  = errors.New("dropped by us")
)

// viewer is one session that plays, or is about to: a cursor over the ring of
// its stream and a sink for what it reads. Everything below mu is touched by
// its session's goroutine before it starts and by its own afterwards.
type viewer struct {
	srv      *Server
	user     string
	password string // of the user at SETUP
	offer    *offer
	session  *gortsplib.ServerSession // nil: the viewer stands for a multicast group
	way      way                      // of all its tracks, by the first SETUP
	tls      bool                     // its requests come over TLS
	ctx      context.Context
	cancel   context.CancelCauseFunc

	mu     sync.Mutex // over SETUPs on several connections
	tracks []track    // video, then sound if it was offered
	ports  [][2]int   // UDP: the viewer's, by track

	sink    sink // set by setSink, read-only afterwards
	since   time.Time
	udp     bool
	address net.Addr
	playing bool

	out   gather
	line  timeline
	name  string        // of both tracks in RTCP (RFC 7022: random)
	seen  atomic.Uint64 // frames sent
	skips atomic.Uint64
}

// connect decides where packets go; it is the last step before start.
func (v *viewer) connect(c *conn) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.address, v.name = c.RemoteAddr(), rand.Text()
	v.udp = v.way.by == overUDP
	s, err := v.sinkOn(c)
	if err == nil {
		v.setSink(s)
	}
	return err
}

// setSink says where packets go, and shows the viewer to Server.Sessions and
// Server.Drop: way, tls and address are final before.
func (v *viewer) setSink(s sink) {
	v.srv.mu.Lock()
	v.sink, v.since = s, time.Now()
	v.srv.mu.Unlock()
	v.out.send = s.send
}

// run sends until the viewer ends, and tells gortsplib when it ends from here.
func (v *viewer) run() {
	log := v.srv.cfg.Log.With(zap.String("stream", v.offer.stream.Name), zap.String("user", v.user),
		zap.Stringer("address", v.address), zap.String("transport", v.transport()))
	log.Info("RTSP viewer joined")
	err := v.play()
	v.leave()
	v.endSession()
	if errors.Is(err, context.Canceled) {
		err = context.Cause(v.ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		v.srv.count.timeouts.Add(1)
	}
	log.Info("RTSP viewer left", zap.Uint64("frames", v.seen.Load()), zap.Uint64("skips", v.skips.Load()), zap.NamedError("reason", err))
}

func (v *viewer) play() error {
	ring := v.offer.stream.Ring
	r := ring.NewLiveReader()
	defer func() { r.Close() }()
	v.srv.keys.want(v.offer.stream)
	for {
		s, err := r.Next(v.ctx)
		if err != nil {
			var lag *media.LagError
			if !errors.As(err, &lag) {
				return err
			}
			v.skipped()
			continue
		}
		now := time.Now()
		if v.tooOld(&s, now) {
			r.Close()
			r = ring.NewLiveReader()
			v.skipped()
			continue
		}
		if err := v.deliver(&s, now); err != nil {
			return err
		}
	}
}

// tooOld tells that the viewer has fallen behind and would gain from skipping.
func (v *viewer) tooOld(s *media.Sample, now time.Time) bool {
	if s.Kind != media.Video || now.Sub(s.Time) <= v.srv.cfg.MaxLag {
		return false
	}
	newest, ok := v.offer.stream.Ring.NewestKey()
	return ok && newest.After(s.Time)
}

func (v *viewer) skipped() {
	v.skips.Add(1)
	v.srv.count.skips.Add(1)
	v.srv.slowLog(&v.srv.lagLog, "RTSP viewer is too slow: skipped to the newest key frame",
		zap.String("stream", v.offer.stream.Name), zap.Stringer("address", v.address))
}

// deliver sends one sample and, when it is time, reports. The buffer is lent for
// that long only: viewers that wait hold none.
func (v *viewer) deliver(s *media.Sample, now time.Time) error {
	i := int(s.Kind) // tracks are in the order of kinds
	if i >= len(v.tracks) || !v.tracks[i].on {
		return nil
	}
	if s.Kind == media.Audio && !v.offer.stream.Audio().Same(v.offer.sound) {
		return nil // what the viewer was told of has ended
	}
	t := &v.tracks[i]
	v.line.advance(s.Time, now)
	buf := v.srv.buffers.Get().(*[]byte)
	v.out.buf = (*buf)[:0]
	ts := v.pack(t, s)
	if t.reportedIn != v.line.round {
		t.reportedIn = v.line.round
		t.report(&v.out, ts, v.line.wallTime(s.Time), v.name)
	}
	v.flush()
	v.srv.buffers.Put(buf)
	return v.out.err
}

func (v *viewer) flush() {
	v.out.flush()
	v.out.buf = nil
	v.srv.count.bytes.Add(v.out.sent)
	v.out.sent = 0
}

// pack turns a sample into packets and returns its timestamp.
func (v *viewer) pack(t *track, s *media.Sample) uint32 {
	since := s.Time.Sub(v.line.zero)
	if s.Kind == media.Video {
		ts := t.pictureStamp(since)
		t.video(&v.out, s.Data, ts)
		t.started, t.last = true, ts
		v.seen.Add(1)
		v.srv.count.frames.Add(1)
		return ts
	}
	at, anchored := t.sound.stamp(since, soundTicks(v.offer.sound, s.Samples), t.rate)
	ts := t.base + uint32(at)
	t.audio(&v.out, v.offer.sound, s, ts, anchored)
	t.started, t.last = true, ts
	return ts
}

// leave ends what the viewer still holds, unless it asked for the end itself and
// may want to use its connection again.
func (v *viewer) leave() {
	switch {
	case errors.Is(context.Cause(v.ctx), errTornDown):
	case v.udp:
		v.goodbye()
	default:
		v.sink.close()
	}
}

// endSession ends the session that the viewer belongs to, if there is one.
func (v *viewer) endSession() {
	if v.session != nil {
		v.session.Close()
	}
}

// goodbye tells a viewer over UDP what the end of the connection tells one over
// TCP. It goes out although the viewer's context has ended.
func (v *viewer) goodbye() {
	u := *v.sink.(*udpSink)
	u.ctx, u.pace = context.Background(), pacer{}
	g := gather{buf: make([]byte, 0, 256), send: u.send}
	for i := range v.tracks {
		if v.tracks[i].started {
			v.tracks[i].goodbye(&g)
		}
	}
	g.flush()
}
