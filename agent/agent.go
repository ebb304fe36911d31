// Package agent joins the rooms of the house: it pumps the board's frames into
// the streams, lets viewers and the recorder read them, keeps the link to the
// cloud, and carries out members' commands. It owns the life of every
// component: each runs under one supervisor, is restarted alone when it fails,
// and is joined at the end. It speaks no protocol itself.
package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/clock"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/local"
	"iid2secure.nl/camagent/cloud/site"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/cloud/upload"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/media"
	"iid2secure.nl/camagent/media/rtsp"
	"iid2secure.nl/camagent/media/talk"
)

// Agent is one camera at work. Make it with New, then call Run once.
type Agent struct {
	cfg     config.Config
	log     *zap.Logger
	started time.Time
	lock    *os.File // on the state folder

	board     *hal.Camera
	streams   []*media.Stream
	camera    *camera
	recording *recording
	health    *health

	clock    *clock.Clock
	id       *identity.Identity
	binding  *bind.Store
	chains   *chains
	card     *spool.Spool
	clips    *clipStore
	executor *command.Executor
	reads    cardReader

	link     *link.Device // nil without a broker, as all that follows
	site     *site.Chooser
	roots    *x509.CertPool // by which broker and storage are trusted
	pairing  *bind.Pairing
	sessions *channel.Server // nil also without local
	uploader *upload.Uploader
	// ask asks the cloud, as link.Device.Ask does.
	ask func(ctx context.Context, kind string, body, answer any) error

	local    *local.Server               // nil without local.address
	presence atomic.Uint64               // sequence of presence statements
	server   atomic.Pointer[rtsp.Server] // nil while nothing is served
	desk     *talk.Desk                  // nil without a speaker
}

// New puts the camera together; it opens files and starts nothing. The board is
// closed by Run, or by Close if Run is not called.
func New(cfg config.Config, board *hal.Camera, log *zap.Logger) (*Agent, error) {
	a := &Agent{cfg: cfg, log: log, started: time.Now(), board: board, health: newHealth(log), reads: newCardReader()}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	var err error
	if a.lock, err = Lock(cfg.StateDir); err != nil {
		return nil, err
	}
	if err := a.open(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) open() (err error) {
	for _, open := range []func() error{a.openState, a.openCard, a.openCamera, a.openDesk} {
		if err := open(); err != nil {
			return err
		}
	}
	if a.executor, err = command.NewExecutor(a.permitted, a.able, a.handlers()); err != nil {
		return err
	}
	if err := a.openCloud(); err != nil {
		return err
	}
	return a.openLocal()
}

// Close lets go of everything, without having run.
func (a *Agent) Close() error {
	a.close()
	return a.board.Close()
}

// Report raises the condition code while err is not nil; it is for what the
// program itself finds wrong with the hardware.
func (a *Agent) Report(code string, err error) { a.health.report(code, err) }

// close lets go of card and state folder.
func (a *Agent) close() {
	if a.card != nil {
		a.card.Close()
	}
	a.lock.Close()
}

// ErrRunning: a camagent runs in the state folder.
var ErrRunning = errors.New("another camagent runs in it")

// Lock makes sure that no other camera runs on the same keys, roster and
// chains: both would sign the same sequence, and push each other off the broker.
// It holds until the returned file is closed.
func Lock(stateDir string) (*os.File, error) {
	f, err := os.Open(stateDir)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("state folder %s: %w", stateDir, ErrRunning)
		}
		return nil, fmt.Errorf("state folder %s: locking it: %w", stateDir, err)
	}
	return f, nil
}

func (a *Agent) openState() (err error) {
	if err := a.openClock(); err != nil {
		return err
	}
	if a.id, err = LoadIdentity(a.cfg, a.board); err != nil {
		return err
	}
	if a.binding, err = bind.Open(a.cfg.StateDir, a.id); err != nil {
		return err
	}
	a.binding.SetClock(a.expiryClock)
	_, bindID, _ := a.binding.Binding()
	a.chains, err = openChains(a.cfg.StateDir, bindID)
	return err
}

func (a *Agent) openCamera() error {
	infos := a.board.Streams()
	if len(infos) == 0 {
		return errNoBoardStreams
	}
	for _, s := range infos {
		kb := a.cfg.Ring.MainKB
		if s.Name != "main" {
			kb = a.cfg.Ring.SubKB
		}
		a.streams = append(a.streams, media.NewStream(s.Name, kb<<10))
	}
	_, bindID, _ := a.binding.Binding()
	settings, err := openSettings(a.cfg.StateDir, bindID, defaultSettings(infos))
	if err != nil {
		return err
	}
	a.camera = newCamera(a.board, a.streams, settings, a.health, a.log)
	return a.openRecording()
}

func (a *Agent) uptime() time.Duration { return time.Since(a.started) }

func (a *Agent) bindID() (string, bool) {
	_, id, bound := a.binding.Binding()
	return id, bound
}

// Identity is the device's, for showing its QR.
func (a *Agent) Identity() *identity.Identity { return a.id }

// Bound tells whether the camera has an owner.
func (a *Agent) Bound() bool {
	_, _, bound := a.binding.Binding()
	return bound
}
