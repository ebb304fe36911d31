package channel

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// ServerConfig is what the camera's side needs. All functions are called from
// several goroutines, some with the server's lock held: they must be quick
// (Execute excepted) and must not call back into the server.
type ServerConfig struct {
	Serial cloud.Serial
	Static identity.KeyPair // the camera's Noise key

	// Binding is the current binding. While bound is false nothing is answered.
	// When it changes, every session and stored reply is dropped.
	Binding func() (epoch uint64, bindID string, bound bool)
	// Member names the member with this Noise public key; ok is false for
	// strangers and for those who have expired. Asked at every handshake and
	// for every message of a session.
	Member func(noisePublic []byte) (member string, ok bool)
	// Uptime is the camera's monotonic time since boot, to which deadlines refer.
	Uptime func() time.Duration
	// Execute carries out one command and fills Result or Error of the reply; V,
	// ID and Uptime are filled in afterwards. It runs in a goroutine of its own, at
	// most 16 at once, those of one session one after the other. ctx ends with
	// Run, or when the member is ended. Permissions are checked here.
	Execute func(ctx context.Context, member string, cmd cloud.Command) cloud.Reply
	// Send hands a message to the carrier for a client. It must not block: what
	// does not fit into the carrier's queue is dropped there.
	Send func(client string, msg []byte)
	Log  *zap.Logger // nil: no log
}

// Limits of the camera's side. R6.
const (
	maxPending       = 8
	maxPendingClient = 2
	pendingFor       = 10 * time.Second
	maxSessions      = 16
	maxPerMember     = 4
	maxRunning       = 16
	sessionFor       = time.Hour
	keepOld          = 10 * time.Second // a superseded or aged session's receive key
	maxMessages      = 1 << 20          // of one direction of a session
	messageGrace     = 1 << 10          // for those on their way while the app makes a new session
	hintEvery        = time.Second      // an "unknown session" to one client
	maxHinted        = 64               // clients whose last hint is remembered
)

// key is how a session or pending handshake is found: an id means something
// only together with the client that chose it.
type key struct {
	client string
	id     sessionID
}

// Server is the camera's side of all sessions.
type Server struct {
	cfg    ServerConfig
	log    *zap.Logger
	ctx    context.Context // of running commands
	cancel context.CancelFunc
	wg     sync.WaitGroup // running commands

	mu       sync.Mutex
	closed   bool
	epoch    uint64
	bindID   string
	pending  []*pending // oldest first
	sessions map[key]*session
	hinted   map[string]time.Time
	replies  replies
	running  int
	dropped  map[string]int // by reason, since the last log line
}

// NewServer makes a server; it starts nothing.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Log,
		sessions: map[key]*session{}, hinted: map[string]time.Time{}, dropped: map[string]int{},
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Receive takes one message from the carrier, of a client that the carrier (a
// topic, a connection) names. It never blocks on a command, and keeps nothing of
// msg. Any bytes are allowed. S4. To be called from one goroutine.
func (s *Server) Receive(client string, msg []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.current() {
		return
	}
	m, ok := parse(msg)
	if !ok || !cloud.ValidClient(client) {
		s.drop("malformed")
		return
	}
	s.expire()
	k := key{client, m.id}
	switch m.kind {
	case typeHandshake1:
		s.handshake1(k, m)
	case typeHandshake3:
		s.handshake3(k, m)
	case typeTransport:
		s.transport(k, m)
	default:
		s.drop("of a kind that only cameras send")
	}
}

// current looks whether the camera is bound, and drops everything if it is not
// bound as it was.
func (s *Server) current() bool {
	epoch, bindID, bound := s.cfg.Binding()
	if !bound {
		bindID = ""
	}
	if epoch != s.epoch || bindID != s.bindID {
		s.endAll()
		s.epoch, s.bindID = epoch, bindID
	}
	return bound
}

// Run ends what is expired, until ctx ends; it then ends running commands, waits
// for them and returns nil. After it nothing is received any more.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tick()
		case <-ctx.Done():
			s.mu.Lock()
			s.closed = true
			s.endAll()
			s.mu.Unlock()
			s.cancel()
			s.wg.Wait()
			return nil
		}
	}
}

func (s *Server) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current()
	s.expire()
	if len(s.dropped) > 0 {
		s.log.Warn("session messages dropped", zap.Any("by_reason", s.dropped))
		s.dropped = map[string]int{}
	}
}

func (s *Server) drop(reason string) { s.dropped[reason]++ }

// EndMember ends the sessions and the running commands of a member at once, and
// forgets stored replies.
func (s *Server) EndMember(member string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endMember(member)
}

func (s *Server) endMember(member string) {
	for k, sess := range s.sessions {
		if sess.member == member {
			s.end(k, "member ended")
		}
	}
	s.replies.forget(func(e *entry) bool { return e.member == member })
}

// EndClient ends the sessions and pending handshakes of a client whose carrier is
// gone for good. Its commands go on, and their replies are kept.
func (s *Server) EndClient(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(p *pending) bool { return p.client == client })
	for k := range s.sessions {
		if k.client == client {
			s.end(k, "carrier gone")
		}
	}
	delete(s.hinted, client)
}

// EndAll ends all sessions, pending handshakes and running commands, and forgets
// stored replies.
func (s *Server) EndAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endAll()
}

func (s *Server) endAll() {
	for k := range s.sessions {
		s.end(k, "all ended")
	}
	s.pending = nil
	s.replies.forget(func(*entry) bool { return true })
}

// Sessions is how many sessions there are, superseded ones included.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	return len(s.sessions)
}
