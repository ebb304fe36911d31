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

// viewer is one session that plays, or is about to. It is served by the fan of
// its stream while it is in step, and by a goroutine of its own, with a cursor of
// its own over the ring, while it is not. Everything below mu is touched by its
// session's goroutine before it starts and by who serves it afterwards.
type viewer struct {
	// What the fan looks at for each sample stands together: with many viewers
	// nothing of it is in the processor's cache.
	direct direct      // its sink, if that never waits; or else it is never in step
	from   uint64      // position from which the fan serves it
	inStep bool        // guarded by fan.mu
	over   atomic.Bool // cancelled
	tracks []track     // video, then sound if it was offered; guarded by mu
	line   timeline
	seen   atomic.Uint64 // frames sent

	srv      *Server
	user     string
	password string // of the user at SETUP
	offer    *offer
	session  *gortsplib.ServerSession // nil: the viewer stands for a multicast group
	way      way                      // of all its tracks, by the first SETUP
	tls      bool                     // its requests come over TLS
	signal   *gortsplib.ServerStream  // gortsplib's view of its stream
	sealer   *sealer                  // nil: its packets are not encrypted
	talk     *talkback                // nil: it has no back channel
	group    *group                   // by which it gets its media, nil: it gets them alone
	stands   *group                   // that it stands for
	silence  *time.Timer              // nil: gortsplib or the connection says when it has vanished
	ctx      context.Context
	cancel   context.CancelCauseFunc

	mu      sync.Mutex       // over SETUPs on several connections
	ports   [][2]int         // UDP: the viewer's, by track
	reports map[int]*reports // what its client encrypts, by track

	sink    sink // set by setSink, read-only afterwards
	since   time.Time
	udp     bool
	address net.Addr
	playing bool

	fan    *fan // of its stream
	send   func([]byte) error
	rest   frame // on its way
	skip   int   // bytes of it that a pass need not send
	out    gather
	writer *writer
	name   string // of both tracks in RTCP (RFC 7022: random)
	skips  atomic.Uint64
}

// live gives the viewer its time, which ends with ctx or when it is cancelled.
func (v *viewer) live(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	v.ctx = ctx
	v.cancel = func(cause error) {
		cancel(cause)
		v.over.Store(true)
	}
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
	defer v.srv.mu.Unlock()
	v.use(s)
}

// use is setSink under Server.mu.
func (v *viewer) use(s sink) {
	v.sink, v.send, v.since = s, s.send, time.Now()
	v.fan = v.srv.fans[v.offer.stream.Name]
	if d, ok := s.(direct); ok {
		v.direct, v.send, v.writer = d, v.sendRest, newWriter()
	}
}

// run begins to serve the viewer, from a goroutine of its own.
func (v *viewer) run() {
	v.log().Info(v.what() + " joined")
	v.srv.keys.want(v.offer.stream)
	if v.direct != nil {
		context.AfterFunc(v.ctx, v.cancelled)
	}
	v.serve(v.offer.stream.Ring.NewLiveReader())
}

// cancelled ends a viewer that has no goroutine: one in step.
func (v *viewer) cancelled() {
	if v.fan.remove(v) {
		v.finish(context.Cause(v.ctx))
	}
}

// serve sends what v.rest has and what r gives, until the viewer ends or is in
// step.
func (v *viewer) serve(r *media.Reader) {
	joined, err := v.play(r)
	r.Close()
	if !joined {
		v.finish(err)
	}
}

func (v *viewer) play(r *media.Reader) (joined bool, err error) {
	if err := v.resume(); err != nil {
		return false, err
	}
	for {
		s, ok, err := r.TryNext()
		switch {
		case lagged(err):
			v.skipped()
		case err != nil:
			return false, err
		case !ok:
			if v.direct != nil && v.fan.join(v, r) {
				return true, nil
			}
			if err := r.Wait(v.ctx); err != nil {
				return false, err
			}
		default:
			if err := v.playOne(r, &s); err != nil {
				return false, err
			}
		}
	}
}

func lagged(err error) bool {
	_, ok := errors.AsType[*media.LagError](err)
	return ok
}

func (v *viewer) playOne(r *media.Reader, s *media.Sample) error {
	now := time.Now()
	if v.srv.tooOld(v.offer.stream.Ring, s, now) {
		r.Resume()
		v.skipped()
		return nil
	}
	return v.deliver(s, now)
}

// resume sends what the fan left of a frame.
func (v *viewer) resume() error {
	switch {
	case v.rest.Data == nil:
		return nil
	case !v.rest.labelled:
		s := v.rest.Sample
		return v.deliver(&s, time.Now())
	}
	defer func() { v.rest = frame{} }()
	if v.rest.out == 0 && v.track(&v.rest.Sample, v.offer.stream.Audio()) == nil {
		return nil // sound that has ended meanwhile
	}
	return v.deliverRest()
}

// finish ends the viewer, and tells gortsplib when it ends from here. Whoever
// served the viewer calls it, once.
func (v *viewer) finish(err error) {
	defer v.srv.work.Done()
	v.leave()
	v.endSession()
	if errors.Is(err, context.Canceled) {
		err = context.Cause(v.ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		v.srv.count.timeouts.Add(1)
	}
	v.log().Info(v.what()+" left", zap.Uint64("frames", v.seen.Load()), zap.Uint64("skips", v.skips.Load()), zap.NamedError("reason", err))
}

func (v *viewer) what() string {
	if v.stands != nil {
		return "RTSP multicast group"
	}
	return "RTSP viewer"
}

func (v *viewer) log() *zap.Logger {
	return v.srv.cfg.Log.With(zap.String("stream", v.offer.stream.Name), zap.String("user", v.user),
		zap.Stringer("address", v.address), zap.String("transport", v.transport()))
}

// tooOld tells that who is about to send s has fallen behind and would gain from
// skipping to the newest key frame.
func (s *Server) tooOld(ring *media.Ring, sample *media.Sample, now time.Time) bool {
	if sample.Kind != media.Video || now.Sub(sample.Time) <= s.cfg.MaxLag {
		return false
	}
	newest, ok := ring.NewestKey()
	return ok && newest.After(sample.Time)
}

func (v *viewer) skipped() {
	v.skips.Add(1)
	v.srv.count.skips.Add(1)
	v.srv.slowLog(&v.srv.lagLog, "RTSP viewer is too slow: skipped to the newest key frame",
		zap.String("stream", v.offer.stream.Name), zap.Stringer("address", v.address))
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
	switch {
	case v.session != nil:
		v.session.Close()
	case v.stands != nil:
		v.stands.close()
	}
}

// goodbye tells a viewer over UDP what the end of the connection tells one over
// TCP. It goes out although the viewer's context has ended.
func (v *viewer) goodbye() {
	g := gather{buf: make([]byte, 0, 256), send: afterAll(v.sink).send}
	for i := range v.tracks {
		if v.tracks[i].started {
			v.tracks[i].goodbye(&g)
		}
	}
	g.flush()
}
