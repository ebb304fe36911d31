package bind

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/flynn/noise"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

const (
	defaultWindow = 10 * time.Minute
	maxPending    = 4
	pendingFor    = 15 * time.Second
	noEvery       = time.Second // an answer "no" to one client
	maxTold       = 64          // clients whose last "no" is remembered
	maxClaim      = 256
)

// PairingConfig is what the camera's side of pairing needs.
type PairingConfig struct {
	// Send hands a message to the carrier for a client; it must not block, nor
	// call back.
	Send func(client string, msg []byte)
	// Window is how long the window stays open after start and after OpenWindow;
	// 0 is 10 minutes.
	Window time.Duration
	// OnBound is called once the binding is durable, from the goroutine of
	// Receive; it must be quick and not call back. May be nil.
	OnBound func()
	Log     *zap.Logger // nil: no log
}

// handshake is one app's pairing under way.
type handshake struct {
	client  string
	id      pairID
	begun   time.Time
	hs      *noise.HandshakeState
	msg1    []byte
	msg2    []byte // the whole answer
	refused bool   // message 3 did not verify; kept to say so again

	// after message 3
	msg3   []byte
	ready  []byte // the whole answer
	in     noise.Cipher
	out    *noise.CipherState
	epoch  uint64
	bindID string

	// after own
	own    []byte
	answer []byte
}

// Pairing is the camera's side of pairing.
type Pairing struct {
	store *Store
	cfg   PairingConfig
	log   *zap.Logger

	mu    sync.Mutex
	until time.Time // the window's end; zero: closed
	pend  []*handshake
	told  map[string]time.Time
}

// NewPairing makes it; nothing is open before Run.
func NewPairing(store *Store, cfg PairingConfig) *Pairing {
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	p := &Pairing{store: store, cfg: cfg, log: cfg.Log, told: map[string]time.Time{}}
	if p.log == nil {
		p.log = zap.NewNop()
	}
	return p
}

// Run opens the window, unless the camera is bound or 10 failures have closed
// it (S2), closes it in time, and drops what is pending too long; until ctx
// ends, then it returns nil.
func (p *Pairing) Run(ctx context.Context) error {
	p.mu.Lock()
	p.open()
	p.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.mu.Lock()
			p.expire()
			p.mu.Unlock()
		case <-ctx.Done():
			p.mu.Lock()
			p.shut("stopped")
			p.mu.Unlock()
			return nil
		}
	}
}

// OpenWindow is the button: it forgets failures and opens the window. No effect
// on a bound camera.
func (p *Pairing) OpenWindow() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, _, bound := p.store.Binding(); bound {
		return nil
	}
	if err := p.store.forgive(); err != nil {
		return err
	}
	p.open()
	return nil
}

// Open tells whether the window is open.
func (p *Pairing) Open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isOpen()
}

func (p *Pairing) isOpen() bool {
	_, _, bound := p.store.Binding()
	return !bound && time.Now().Before(p.until)
}

func (p *Pairing) open() {
	if _, _, bound := p.store.Binding(); bound {
		return
	}
	if p.store.failures() >= maxFailures {
		p.log.Warn("pairing stays closed after 10 failures: press the button")
		return
	}
	p.until = time.Now().Add(p.cfg.Window)
	p.log.Info("pairing window open", zap.Duration("for", p.cfg.Window))
}

func (p *Pairing) shut(why string) {
	if !p.until.IsZero() {
		p.log.Info("pairing window closed", zap.String("why", why))
	}
	p.until, p.pend = time.Time{}, nil
}

func (p *Pairing) expire() {
	now := time.Now()
	p.pend = slices.DeleteFunc(p.pend, func(h *handshake) bool { return now.Sub(h.begun) > pendingFor })
	if !p.until.IsZero() && now.After(p.until) {
		p.shut("its time is over")
	}
}

// Receive takes one pairing message (channel.IsPairing) of a client. Any bytes
// are allowed, and nothing of msg is kept. S4. To be called from one goroutine.
func (p *Pairing) Receive(client string, msg []byte) {
	m, ok := parse(msg)
	if !ok || !cloud.ValidClient(client) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire()
	h := p.find(client, m.id)
	switch {
	case h != nil && h.answer != nil:
		p.repeat(h, m)
	case !p.isOpen():
		p.closed(client, m.id)
	case m.kind == typePair1:
		p.first(client, m, h)
	case m.kind == typePair3 && h != nil:
		p.third(h, m)
	case m.kind == typePairInner && h != nil && h.in != nil:
		p.owned(h, m)
	case m.kind == typePair3 || m.kind == typePairInner:
		p.no(client, m.id, noSuch)
	}
}

func (p *Pairing) find(client string, id pairID) *handshake {
	for _, h := range p.pend {
		if h.client == client && h.id == id {
			return h
		}
	}
	return nil
}

// repeat answers the winner again whose receipt got lost.
func (p *Pairing) repeat(h *handshake, m message) {
	if m.kind == typePairInner && bytes.Equal(h.own, m.body) {
		p.cfg.Send(h.client, h.answer)
	}
}

// closed says why nothing goes.
func (p *Pairing) closed(client string, id pairID) {
	if _, _, bound := p.store.Binding(); bound {
		p.no(client, id, noBound)
		return
	}
	p.no(client, id, noWindow)
}

// no is the fixed, short answer that nothing authenticates: once a second to a client.
func (p *Pairing) no(client string, id pairID, code byte) {
	now := time.Now()
	if now.Sub(p.told[client]) < noEvery {
		return
	}
	if len(p.told) >= maxTold {
		for c, t := range p.told {
			if now.Sub(t) >= noEvery {
				delete(p.told, c)
			}
		}
	}
	if len(p.told) >= maxTold {
		return
	}
	p.told[client] = now
	p.cfg.Send(client, append(head(typePairNo, id), code))
}

// first answers message 1. The oldest that has not shown the code gives way.
func (p *Pairing) first(client string, m message, h *handshake) {
	if h != nil {
		if bytes.Equal(h.msg1, m.body) {
			p.cfg.Send(client, h.msg2)
		}
		return
	}
	if len(p.pend) >= maxPending {
		i := slices.IndexFunc(p.pend, func(h *handshake) bool { return h.in == nil })
		if i < 0 {
			p.no(client, m.id, noBusy)
			return
		}
		p.pend = slices.Delete(p.pend, i, i+1)
	}
	hs, err := newHandshake(false, p.store.id.Noise, p.store.id.Serial, p.store.id.Code, client)
	if err != nil {
		p.log.Error("pairing is not possible", zap.Error(err))
		return
	}
	if _, _, _, err := hs.ReadMessage(nil, m.body); err != nil {
		return
	}
	msg2, _, _, err := hs.WriteMessage(head(typePair2, m.id), nil)
	if err != nil {
		return
	}
	p.pend = append(p.pend, &handshake{
		client: client, id: m.id, begun: time.Now(), hs: hs, msg1: bytes.Clone(m.body), msg2: msg2,
	})
	p.cfg.Send(client, msg2)
}

// third takes message 3: who has the code is known after it. S2: the failure is
// counted, durable, before the check.
func (p *Pairing) third(h *handshake, m message) {
	switch {
	case h.refused:
		p.no(h.client, h.id, noCode)
		return
	case h.msg3 != nil:
		if bytes.Equal(h.msg3, m.body) {
			p.cfg.Send(h.client, h.ready)
		}
		return
	}
	if err := p.store.failure(); err != nil {
		p.log.Error("pairing refused: a failure could not be counted", zap.Error(err))
		return
	}
	payload, in, out, err := h.hs.ReadMessage(nil, m.body)
	h.hs = nil
	if err != nil || len(payload) > 0 {
		p.failed(h)
		return
	}
	if err := p.store.noFailure(); err != nil {
		p.log.Error("pairing: a failure could not be taken back", zap.Error(err))
	}
	p.prepare(h, in, out, m)
}

func (p *Pairing) failed(h *handshake) {
	n := p.store.failures()
	p.log.Warn("pairing failed: wrong code", zap.String("client", h.client), zap.Int("failures", n), zap.Int("closes_at", maxFailures))
	h.refused = true
	p.no(h.client, h.id, noCode)
	if n >= maxFailures {
		p.shut("10 failures")
	}
}

// prepare answers message 3 with ready.
func (p *Pairing) prepare(h *handshake, in, out *noise.CipherState, m message) {
	epoch, _, _ := p.store.Binding()
	id := make([]byte, 16)
	rand.Read(id)
	h.epoch, h.bindID = epoch+1, hex.EncodeToString(id)
	ready, err := sealInner(out, h.id, inner{Epoch: h.epoch, BindID: h.bindID, Chain: p.store.id.Chain})
	if err != nil {
		p.log.Error("pairing", zap.Error(err))
		return
	}
	h.msg3, h.ready, h.in, h.out = bytes.Clone(m.body), ready, in.Cipher(), out
	p.cfg.Send(h.client, ready)
}

// owned takes the app's word who the owner is. One that does not decrypt is
// somebody else's, and changes nothing.
func (p *Pairing) owned(h *handshake, m message) {
	own, err := openInner(h.in, m, 0)
	if errors.Is(err, errForeign) {
		return
	}
	var receipt string
	if err == nil {
		receipt, err = p.bind(h, own)
	}
	answer := inner{Receipt: receipt}
	if err != nil {
		p.log.Warn("pairing refused", zap.String("client", h.client), zap.Error(err))
		answer.Error = cloud.Refuse(cloud.CodeFailed, "pairing: %v", err)
	}
	msg, sealErr := sealInner(h.out, h.id, answer)
	if sealErr != nil {
		p.log.Error("pairing", zap.Error(sealErr))
		return
	}
	h.own, h.answer, h.begun = bytes.Clone(m.body), msg, time.Now()
	p.cfg.Send(h.client, msg)
	if err == nil {
		p.won(h)
	}
}

// bind checks the owner and makes all of it durable before anybody is told.
func (p *Pairing) bind(h *handshake, own inner) (receipt string, err error) {
	key, err := base64.StdEncoding.DecodeString(own.Noise)
	if err != nil {
		return "", errors.New("noise key: not base64")
	}
	owner := Member{
		ID: MemberID(key), Name: own.Name, Noise: key, Recipient: own.Recipient,
		Permissions: cloud.AllPermissions(),
	}
	if err := owner.check(); err != nil {
		return "", err
	}
	if len(own.Claim) > maxClaim {
		return "", errors.New("claim token: too long")
	}
	id := p.store.id
	receipt, err = seal.Sign(cloud.TypReceipt, id.Signing, cloud.Receipt{
		Statement: cloud.Statement{V: 1, Serial: id.Serial, Epoch: h.epoch, BindID: h.bindID},
		Owner:     hash(key), Recipient: hash([]byte(own.Recipient)), Token: tokenHash(own.Claim),
		Time: time.Now().Unix(),
	})
	if err != nil {
		return "", err
	}
	return receipt, p.store.bind(h.epoch, h.bindID, owner, receipt, own.Claim)
}

// won closes the window and tells the others that they came too late.
func (p *Pairing) won(h *handshake) {
	others := p.pend
	p.shut("the camera is bound")
	p.pend = []*handshake{h}
	for _, o := range others {
		if o != h {
			p.no(o.client, o.id, noBound)
		}
	}
	p.log.Info("camera bound", zap.Uint64("epoch", h.epoch))
	if p.cfg.OnBound != nil {
		p.cfg.OnBound()
	}
}
