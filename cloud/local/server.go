package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Limits of the camera's side. R6.
const (
	maxConns   = 32
	proofFor   = 10 * time.Second // from connecting to the first word in a session
	maxEarly   = 16               // frames before it
	earlyFrame = 4 << 10          // of at most so many bytes
	bodyFor    = 10 * time.Second // of a frame that has begun
	writeFor   = 10 * time.Second // of one frame
	idleFor    = 5 * time.Minute
	maxQueue   = 2 << 20 // bytes that wait for one client
	maxQueued  = 8 << 20 // for all
	sendBuffer = 128 << 10
	acceptWait = 100 * time.Millisecond // when there are no descriptors
	// A message of a stranger costs the camera a computation: so many a second.
	earlyRate, earlyBurst = 50, 50
)

// Config of a Server.
type Config struct {
	Address string // host:port or :port
	// Proves tells whether a message that the camera sends shows that its client
	// is one with whom it has a session.
	Proves func(msg []byte) bool
	// Gone, if set, is told of a client whose connection has ended: its id comes
	// never again.
	Gone func(client string)
	Log  *zap.Logger // nil: no log
}

// Message came from a client of this carrier. Its payload belongs to the reader.
type Message struct {
	Client  string
	Payload []byte
}

// Server is the camera's side: it listens while Run runs. Its methods may be
// called from any goroutine.
type Server struct {
	cfg   Config
	log   *zap.Logger
	inbox chan Message
	early *rate.Limiter
	turn  chan struct{} // held by who waits for early: first come, first served, so that a flood delays others by a second at most

	mu     sync.Mutex
	addr   net.Addr // nil while it does not listen
	conns  map[*peer]struct{}
	names  map[string]*peer // those that said hello
	queued int              // bytes, of all
	stats  Stats
}

// Stats counts since the Server was made, but for Connections.
type Stats struct {
	Connections int    // open
	Strangers   uint64 // ended without having had a session
	Slow        uint64 // ended for not reading
}

// NewServer makes a server; it starts nothing.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg, log: cfg.Log, inbox: make(chan Message), early: rate.NewLimiter(earlyRate, earlyBurst), turn: make(chan struct{}, 1), conns: map[*peer]struct{}{}, names: map[string]*peer{}}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	return s
}

// Inbox is what clients send, in their order. While nobody reads it, they wait.
func (s *Server) Inbox() <-chan Message { return s.inbox }

// Addr is where it listens now; nil: nowhere.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Stats tells what it does.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Connections = len(s.conns)
	return st
}

// Run listens until ctx ends, then closes all connections and returns ctx's
// error; up is called once it listens. It may be run again afterwards.
func (s *Server) Run(ctx context.Context, up func()) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("local sessions: %w", err)
	}
	return s.serve(ctx, l, up)
}

func (s *Server) serve(ctx context.Context, l net.Listener, up func()) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work.Go(func() {
		<-ctx.Done()
		l.Close()
	})
	s.listens(l.Addr())
	defer s.listens(nil)
	up()
	for {
		raw, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				raw.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("local sessions: %w", err)
		case err != nil:
			s.pause(ctx, err)
		default:
			p := s.admit(raw)
			work.Go(func() { s.attend(ctx, p) })
		}
	}
}

func (s *Server) listens(at net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = at
}

// pause lets descriptors become free again after ENFILE or EMFILE.
func (s *Server) pause(ctx context.Context, err error) {
	if errors.Is(err, syscall.ECONNABORTED) {
		return
	}
	s.log.Warn("cannot accept connections", zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(acceptWait):
	}
}

// peer is one connection. The server's lock guards all but raw, out and what
// only its reader uses.
type peer struct {
	raw    net.Conn
	from   netip.Prefix
	born   time.Time
	client string // "" before its hello
	proven bool
	heard  time.Time
	ended  bool
	queue  [][]byte // frames
	bytes  int      // of them, the one that is being written included
	ready  chan struct{}
	gone   chan struct{} // closed when ended
}

// admit makes room for a connection. A host that opens many takes away its own.
func (s *Server) admit(raw net.Conn) *peer {
	if t, ok := raw.(*net.TCPConn); ok {
		t.SetWriteBuffer(sendBuffer) //nolint:errcheck // an advice
	}
	now := time.Now()
	p := &peer{raw: raw, from: network(raw.RemoteAddr()), born: now, heard: now, ready: make(chan struct{}, 1), gone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= maxConns {
		s.end(s.leastWanted())
	}
	s.conns[p] = struct{}{}
	s.renew(p)
	return p
}

// network is whom addresses are counted for: an IPv4 address, or the /64 of an
// IPv6 one, of which a host may give itself any.
func network(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	n, _ := ip.Prefix(bits)
	return n
}

// leastWanted is the oldest stranger of the network that has most of them, or, if
// there are none, who has been silent for longest.
func (s *Server) leastWanted() *peer {
	count := map[netip.Prefix]int{}
	for p := range s.conns {
		if !p.proven {
			count[p.from]++
		}
	}
	var worst *peer
	for p := range s.conns {
		if worst == nil || worse(p, worst, count) {
			worst = p
		}
	}
	return worst
}

func worse(a, b *peer, count map[netip.Prefix]int) bool {
	switch {
	case a.proven != b.proven:
		return b.proven
	case a.proven:
		return a.heard.Before(b.heard)
	case count[a.from] != count[b.from]:
		return count[a.from] > count[b.from]
	}
	return a.born.Before(b.born)
}

// end lets a connection go; its goroutines see that. With the lock held.
func (s *Server) end(p *peer) {
	if p.ended {
		return
	}
	p.ended = true
	close(p.gone)
	p.raw.Close()
	delete(s.conns, p)
	if s.names[p.client] == p {
		delete(s.names, p.client)
	}
	s.queued -= p.bytes
	p.queue, p.bytes = nil, 0
	if !p.proven {
		s.stats.Strangers++
	}
}

func (s *Server) endNow(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(p)
}

// renew sets how long may pass until the next frame begins. With the lock held.
func (s *Server) renew(p *peer) {
	until := p.born.Add(proofFor)
	if p.proven {
		until = p.heard.Add(idleFor)
	}
	p.raw.SetReadDeadline(until) //nolint:errcheck // closed, then
}

// attend serves one connection to its end.
func (s *Server) attend(ctx context.Context, p *peer) {
	var writer sync.WaitGroup
	defer writer.Wait()
	defer s.endNow(p)
	writer.Go(func() { s.write(p) })
	stop := context.AfterFunc(ctx, func() { s.endNow(p) })
	defer stop()
	err := s.read(ctx, p)
	s.endNow(p)
	if p.client != "" && s.cfg.Gone != nil {
		s.cfg.Gone(p.client)
	}
	s.log.Debug("local connection ended", zap.Stringer("from", p.from), zap.Error(err))
}

func (s *Server) read(ctx context.Context, p *peer) error {
	first, err := readFrame(p.raw, func() int { return maxHello })
	if err != nil {
		return err
	}
	client, err := parseHello(first)
	if err != nil {
		return err
	}
	if err := s.enter(p, client); err != nil {
		return err
	}
	for early := 0; ; early++ {
		msg, err := readFrame(p.raw, func() int { return s.begun(p, early) })
		if err != nil {
			return err
		}
		if !s.heardOf(p) && !s.mayBother(p) {
			return net.ErrClosed
		}
		select {
		case s.inbox <- Message{p.client, msg}:
		case <-p.gone:
			return net.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errTaken = errors.New("a connection with its client id is open")

// enter takes the hello of a connection. Who says somebody else's gets nothing
// of theirs.
func (s *Server) enter(p *peer, client string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.ended {
		return net.ErrClosed
	}
	if s.names[client] != nil {
		return errTaken
	}
	p.client = client
	s.names[client] = p
	return nil
}

// begun is told of the head of a frame that follows others, and says how long it
// may be. A stranger's time does not grow by it.
func (s *Server) begun(p *peer, before int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.proven:
		p.raw.SetReadDeadline(time.Now().Add(bodyFor)) //nolint:errcheck // closed, then
		return maxFrame
	case before >= maxEarly:
		return 0
	}
	return earlyFrame
}

// heardOf notes that a message is whole, and tells whether it is of no stranger.
func (s *Server) heardOf(p *peer) (proven bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.heard = time.Now()
	s.renew(p)
	return p.proven
}

// mayBother waits for a stranger's turn; false: its time is over.
func (s *Server) mayBother(p *peer) bool {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-p.gone:
		return false
	}
	turn := s.early.Reserve()
	wait := time.NewTimer(turn.Delay())
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-p.gone:
		turn.Cancel()
		return false
	}
}

// Send puts a message into the queue of a client and never blocks. False: there
// is no such client (any more), or it was too slow and is now gone.
func (s *Server) Send(client string, msg []byte) bool {
	frame, err := appendFrame(make([]byte, 0, headLen+len(msg)), msg)
	if err != nil {
		s.log.Error("local message", zap.Error(err))
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.names[client]
	if p == nil {
		return false
	}
	if !p.proven && s.cfg.Proves(msg) {
		p.proven = true
		s.renew(p)
	}
	if p.bytes+len(frame) > maxQueue || s.queued+len(frame) > maxQueued {
		s.tooSlow(p)
		return false
	}
	p.queue = append(p.queue, frame)
	p.bytes += len(frame)
	s.queued += len(frame)
	select {
	case p.ready <- struct{}{}:
	default:
	}
	return true
}

func (s *Server) tooSlow(p *peer) {
	if p.ended {
		return
	}
	s.stats.Slow++
	s.log.Info("a client that does not read is dropped", zap.Stringer("from", p.from), zap.Int("waiting", p.bytes))
	s.end(p)
}

// write sends what is queued, until the connection ends.
func (s *Server) write(p *peer) {
	for {
		select {
		case <-p.ready:
		case <-p.gone:
			return
		}
		for frame := s.next(p); frame != nil; frame = s.next(p) {
			p.raw.SetWriteDeadline(time.Now().Add(writeFor)) //nolint:errcheck // closed, then
			if _, err := p.raw.Write(frame); err != nil {
				s.unwritten(p, err)
				return
			}
			s.written(p, len(frame))
		}
	}
}

func (s *Server) next(p *peer) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	frame := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	return frame
}

func (s *Server) written(p *peer, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.ended { // else they are counted off already
		p.bytes -= n
		s.queued -= n
	}
}

func (s *Server) unwritten(p *peer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		s.tooSlow(p)
	}
	s.end(p)
}
