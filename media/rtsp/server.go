package rtsp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
)

var (
	errFull    = errors.New("too many viewers")
	errStopped = errors.New("the server has stopped")
)

// Server serves streams over RTSP. Its methods may be called from any
// goroutine; Run by one at a time, again after it has returned.
type Server struct {
	cfg     Config
	cred    Credentials
	streams map[string]*media.Stream
	order   map[string]int // of streams
	vanish  vanishing
	dummies atomic.Uint32
	fans    map[string]*fan // by name of their streams
	keys    keyRequests
	buffers sync.Pool // of *[]byte, capacity chunk
	guard   *guard
	ready   chan struct{}
	count   struct {
		frames, bytes, skips, timeouts, refused, authErrors, handshakes, malformed atomic.Uint64
	}

	snapshots snapshots
	ears      ears
	nonces    *nonces

	wrongLog, guessLog, fullLog, emptyLog, lagLog, acceptLog, pictureLog, handshakeLog, garbageLog slowLine

	mu      sync.Mutex
	doors   *doors
	opened  bool // ready is closed
	running bool
	gort    *gortsplib.Server
	conns   int
	// strangers are connections without a right password yet, the oldest first.
	strangers []*conn
	viewers   map[*viewer]struct{}
	groups    map[groupKey]*group
	receivers map[netip.AddrPort]*viewer // over UDP, by each of their ports
	offers    map[string]*offer          // the newest of each stream
	work      sync.WaitGroup             // viewers' goroutines
}

// New makes a server of streams, each at the path of its name. requestKey asks
// the board for a key frame of a stream; it may be nil, must not block, and is
// called at most once a second and stream.
func New(cfg Config, streams []*media.Stream, cred Credentials, requestKey func(stream string)) *Server {
	cfg.setDefaults()
	s := &Server{
		cfg: cfg, cred: cred,
		streams:   make(map[string]*media.Stream, len(streams)),
		order:     make(map[string]int, len(streams)),
		vanish:    vanishing{session: sessionTimeout, unacked: userTimeout, idle: keepIdle, probe: keepProbe},
		groups:    map[groupKey]*group{},
		fans:      make(map[string]*fan, len(streams)),
		ready:     make(chan struct{}),
		viewers:   map[*viewer]struct{}{},
		receivers: map[netip.AddrPort]*viewer{},
		offers:    map[string]*offer{},
		guard:     newGuard(cfg.WrongAnswers, cfg.BlockTime),
		nonces:    newNonces(),
	}
	s.snapshots.shoot = cfg.Snapshot
	s.keys = keyRequests{ask: requestKey, srv: s, at: map[string]time.Time{}}
	s.buffers.New = func() any { b := make([]byte, 0, chunk); return &b }
	for i, st := range streams {
		s.order[st.Name] = i
		s.streams[st.Name] = st
		s.fans[st.Name] = &fan{srv: s, stream: st, largest: largestShared, zero: time.Now()}
	}
	return s
}

// Run listens and serves until ctx ends; then it ends all viewers and returns
// nil, with no goroutine or socket left. Another end is an error.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.snapshots.begin(ctx)
	d, err := s.listen()
	if err != nil {
		return err
	}
	g := s.gortsplib(ctx, d)
	s.open(g, d)
	hearing := s.hear(d)
	defer hearing()
	defer s.hearTalk(d)()
	defer s.stop(cancel)
	if err := g.Start(); err != nil {
		d.close()
		return fmt.Errorf("start RTSP server on %s: %w", d, err)
	}
	s.markReady()
	s.cfg.Log.Info("RTSP server listens", zap.Stringer("address", d), zap.Bool("tcp", s.cfg.TCP), zap.Bool("udp", s.cfg.UDP), zap.Bool("multicast", s.cfg.Multicast))
	failed := make(chan error, 1)
	go func() { failed <- g.Wait() }()
	select {
	case <-ctx.Done():
		s.stop(cancel)
		g.Close()
		<-failed
		return nil
	case err := <-failed:
		return fmt.Errorf("RTSP server on %s ended: %w", d, err)
	}
}

func (s *Server) open(g *gortsplib.Server, d *doors) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gort, s.doors, s.running = g, d, true
}

func (s *Server) markReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened {
		s.opened = true
		close(s.ready)
	}
}

// stop ends all viewers and joins their goroutines; connections are closed first,
// so that none waits for a peer that does not read.
func (s *Server) stop(cancel context.CancelFunc) {
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	s.drop(func(*viewer) bool { return true })
	s.retireAll()
	s.work.Wait()
	cancel()
}

// Ready is closed once the server has listened for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr returns the address listened on for RTSP, nil before Ready or if there is none.
func (s *Server) Addr() net.Addr {
	return s.address(func(d *doors) *net.TCPListener { return d.plain })
}

// TLSAddr is the same for RTSPS.
func (s *Server) TLSAddr() net.Addr {
	return s.address(func(d *doors) *net.TCPListener { return d.secure })
}

func (s *Server) address(of func(*doors) *net.TCPListener) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doors == nil || of(s.doors) == nil {
		return nil
	}
	return of(s.doors).Addr()
}

// Drop ends all viewers of a user at once. Call it after Credentials has begun
// to refuse that user, or they come back.
func (s *Server) Drop(user string) {
	s.drop(func(v *viewer) bool { return v.user == user })
	s.rekey(func(knows, _ string) bool { return knows == user })
}

func (s *Server) drop(which func(*viewer) bool) {
	var sinks []sink
	s.mu.Lock()
	for v := range s.viewers {
		if !which(v) {
			continue
		}
		v.cancel(errDropped)
		v.endSession()
		if v.sink != nil {
			sinks = append(sinks, v.sink)
		}
	}
	s.mu.Unlock()
	for _, k := range sinks {
		k.close()
	}
}

// Viewers returns how many sessions play or are about to.
func (s *Server) Viewers() int { return s.Stats().Viewers }

// Stats returns the counts of this moment.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Viewers: len(s.viewers), Conns: s.conns,
		Frames: s.count.frames.Load(), Bytes: s.count.bytes.Load(),
		Skips: s.count.skips.Load(), Timeouts: s.count.timeouts.Load(),
		Refused: s.count.refused.Load(), AuthErrors: s.count.authErrors.Load(),
		Handshakes: s.count.handshakes.Load(), Malformed: s.count.malformed.Load(),
		Blocked: s.guard.refused.Load(),
	}
}

// register makes a viewer, if there is room for one more.
func (s *Server) register(ctx context.Context, o *offer, user, password string, session *gortsplib.ServerSession) (*viewer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil, errStopped
	}
	if len(s.viewers) >= s.cfg.MaxViewers {
		s.count.refused.Add(1)
		return nil, errFull
	}
	v := &viewer{srv: s, user: user, password: password, offer: o, session: session, tracks: o.tracks(), ports: make([][2]int, len(o.desc.Medias))}
	v.live(ctx)
	s.viewers[v] = struct{}{}
	return v, nil
}

// unregister forgets a viewer whose session has closed.
func (s *Server) unregister(v *viewer) {
	s.mu.Lock()
	delete(s.viewers, v)
	s.quit(v)
	s.release(v)
	v.unwatch()
	last := s.unsignal(v)
	s.mu.Unlock()
	if last != nil {
		last.Close()
	}
}

// start runs a viewer, unless it or the server has ended in the meantime.
func (s *Server) start(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running && v.ctx.Err() == nil {
		s.work.Add(1)
		go v.run()
	}
}

// currentOffer returns one offer for all viewers to whom the stream looks the same.
func (s *Server) currentOffer(st *media.Stream, sps, pps []byte) (*offer, error) {
	sound := s.usable(st.Audio())
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.offers[st.Name]; o != nil && o.matches(sps, pps, sound) {
		return o, nil
	}
	o, err := newOffer(st, sps, pps, sound)
	if err == nil {
		s.offers[st.Name] = o
	}
	return o, err
}

// usable drops sound that cannot be described: the picture goes on without it.
func (s *Server) usable(f *hal.AudioFormat) *hal.AudioFormat {
	if f == nil {
		return nil
	}
	if _, err := soundFormat(f); err != nil {
		s.slowLog(&s.emptyLog, "RTSP stream is served without sound", zap.Error(err))
		return nil
	}
	return f
}

// admit counts a connection in; leave counts it out. At the limit a stranger makes
// room: those who only hold connections open keep nobody out. S3.
func (s *Server) admit() bool {
	for {
		s.mu.Lock()
		if s.conns < s.cfg.MaxConns {
			s.conns++
			s.mu.Unlock()
			return true
		}
		oldest := crowded(s.strangers)
		s.notStranger(oldest)
		s.mu.Unlock()
		s.count.refused.Add(1)
		if oldest == nil {
			return false
		}
		oldest.Close()
	}
}

// meet notes a connection that nobody has shown a password on.
func (s *Server) meet(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strangers = append(s.strangers, c)
}

// know says that c has shown a right password.
func (s *Server) know(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notStranger(c)
}

func (s *Server) notStranger(c *conn) {
	s.strangers = slices.DeleteFunc(s.strangers, func(o *conn) bool { return o == c })
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
	c.gone = true
	s.forget(c)
	s.notStranger(c)
}

// slowLine bounds one kind of line in the log.
type slowLine struct {
	mu     sync.Mutex
	next   time.Time
	hidden int
}

// slowLog writes at most one line of a kind a second, with the number of those
// that it left out.
func (s *Server) slowLog(l *slowLine, text string, fields ...zap.Field) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		l.hidden++
		return
	}
	s.cfg.Log.Warn(text, append(fields, zap.Int("hidden", l.hidden))...)
	l.next, l.hidden = now.Add(time.Second), 0
}

func (s *Server) complain(text string, err error) { s.slowLog(&s.acceptLog, text, zap.Error(err)) }
