package channel

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

// ServerConfig is what the camera's side needs. All functions are called from
// several goroutines, some with the server's lock held: they must be quick and
// must not call back into the server.
type ServerConfig struct {
	Serial cloud.Serial
	Static identity.KeyPair // the camera's Noise key

	// Binding is the current binding. While bound is false nothing is answered.
	// When it changes, every session and stored reply is dropped.
	Binding func() (epoch uint64, bindID string, bound bool)
	// Member names the member with this Noise public key; ok is false for
	// strangers and for those who have expired. Asked at every handshake and
	// before every command.
	Member func(noisePublic []byte) (member string, ok bool)
	// Uptime is the camera's monotonic time since boot, to which deadlines refer.
	Uptime func() time.Duration
	// Execute carries out one command and fills Result or Error of the reply; ID
	// and Uptime are filled in afterwards. It runs in a goroutine of its own, at
	// most 16 at once, those of one session one after the other. ctx ends with
	// Run, or when the member is ended. Permissions are checked here.
	Execute func(ctx context.Context, member string, cmd cloud.Command) cloud.Reply
	// Send hands a message to the carrier for a client. It must not block: what
	// does not fit into the carrier's queue is dropped there.
	Send func(client string, msg []byte)
	Log  *zap.Logger // nil: no log
}

// Server is the camera's side of all sessions.
type Server struct{ cfg ServerConfig }

// NewServer makes a server; it starts nothing.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// Receive takes one message from the carrier, of a client that the carrier (a
// topic, a connection) names. It never blocks on a command. Any bytes are
// allowed. S4. To be called from one goroutine.
func (s *Server) Receive(client string, msg []byte) {}

// Run ends what is expired, until ctx ends; it then ends running commands and
// waits for them. After it nothing is received any more.
func (s *Server) Run(ctx context.Context) error { return errors.New("channel: not there yet") }

// EndMember ends the sessions and the running commands of a member at once.
func (s *Server) EndMember(member string) {}

// EndAll ends all sessions, pending handshakes and running commands, and forgets stored replies.
func (s *Server) EndAll() {}

// Sessions is how many sessions there are.
func (s *Server) Sessions() int { return 0 }
