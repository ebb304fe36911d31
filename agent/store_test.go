package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/clock"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/media/clip"
)

// storeBench is a bound camera's clip store, which can be started again and
// again on the same state folder and card.
type storeBench struct {
	t       testing.TB
	dir     string
	limit   int64
	id      *identity.Identity
	binding *bind.Store
	secret  cloud.Secret // the owner's
	store   *clipStore
	frame   uint64
}

func newStoreBench(t testing.TB) *storeBench {
	t.Helper()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	b := &storeBench{t: t, dir: t.TempDir(), id: id}
	require.NoError(t, os.Mkdir(filepath.Join(b.dir, "state"), 0o700))
	b.bind()
	return b
}

func (b *storeBench) state(name string) string { return filepath.Join(b.dir, "state", name) }
func (b *storeBench) cardDir() string          { return filepath.Join(b.dir, "card") }

// bind gives the camera an owner.
func (b *storeBench) bind() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	b.binding, err = bind.Open(b.state(""), b.id)
	require.NoError(b.t, err)
	w := &wire{back: make(chan []byte, 16)}
	w.pairing = bind.NewPairing(b.binding, bind.PairingConfig{Send: func(_ string, m []byte) { w.back <- m }})
	done := make(chan error)
	go func() { done <- w.pairing.Run(ctx) }()
	for !w.pairing.Open() {
		<-time.After(time.Millisecond)
	}
	qr, err := identity.ParseQR(identity.QRText(b.id).Reveal())
	require.NoError(b.t, err)
	secret, recipient, err := seal.NewIdentity()
	require.NoError(b.t, err)
	_, err = bind.Pair(ctx, w, bind.PairRequest{QR: qr, ClientID: "app", Name: "owner", Owner: identity.NewKeyPair(),
		Recipient: recipient, ClaimToken: cloud.NewSecret("token")})
	require.NoError(b.t, err)
	b.secret = secret
	heads, err := openChains(b.state(""), "") // as it was when nobody owned the camera
	require.NoError(b.t, err)
	_, bindID, _ := b.binding.Binding()
	require.NoError(b.t, heads.begin(bindID))
	cancel()
	<-done
}

// again gives the camera another owner.
func (b *storeBench) again() {
	b.t.Helper()
	require.NoError(b.t, b.binding.Unbind())
	b.bind()
}

// start begins a run of the program on what the one before has left.
func (b *storeBench) start() {
	b.t.Helper()
	b.open()
	require.NoError(b.t, b.store.recover(true))
	require.NoError(b.t, b.store.tellGaps())
}

func (b *storeBench) open() {
	b.t.Helper()
	c, err := clock.Open(b.state(""), firstBuild())
	require.NoError(b.t, err)
	_, bindID, _ := b.binding.Binding()
	heads, err := openChains(b.state(""), bindID)
	require.NoError(b.t, err)
	card, err := spool.Open(b.cardDir(), spool.Config{MaxBytes: b.limit, Owner: owner(b.id.Serial, b.binding), Leaving: func(name string) error { return b.store.leaving(name) }})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { card.Close() })
	heads.card = card.ID
	h := newHealth(zap.NewNop())
	warn := func(err error) { require.NoError(b.t, err) }
	b.store = &clipStore{id: b.id, binding: b.binding, card: card, chains: heads, clock: c, health: h,
		gaps: openGaps(b.state(""), c.Boot(), c.At, warn), given: openGiven(b.state(""), warn), key: openJournalKey(b.state(""))}
	b.store.rebind()
}

// cut ends the run as a power cut does: nothing more is written.
func (b *storeBench) cut() { b.store.card.Close() }

func (b *storeBench) create() *clipSink {
	b.t.Helper()
	k, err := b.store.Create(b.t.Context(), clip.Start{Stream: "main", Time: time.Now(), FirstFrame: b.frame,
		Order: clip.Order{Trigger: "continuous"}})
	require.NoError(b.t, err)
	return k.(*clipSink)
}

// info is of n frames so far.
func (b *storeBench) info(n int) clip.Info {
	return clip.Info{Frames: n, FirstFrame: b.frame, LastFrame: b.frame + uint64(n) - 1,
		Duration: time.Duration(n) * 40 * time.Millisecond, Order: clip.Order{Trigger: "continuous"}}
}

// fragments writes count fragments of 25 frames and size bytes each; it returns what was written.
func (b *storeBench) fragments(k *clipSink, count, size int) []byte {
	b.t.Helper()
	var all bytes.Buffer
	for i := range count {
		p := make([]byte, size)
		rand.Read(p)
		all.Write(p)
		_, err := k.Write(p)
		require.NoError(b.t, err)
		require.NoError(b.t, k.Sync(b.info(25*(i+1))))
	}
	return all.Bytes()
}

// clip records one clip of two fragments.
func (b *storeBench) clip() string {
	b.t.Helper()
	k := b.create()
	b.fragments(k, 2, 1000)
	require.NoError(b.t, k.Close(b.info(50)))
	b.frame += 50
	return k.name
}

// files reads the names of what lies on the card with an ending, in order.
func (b *storeBench) names() (out []string) {
	b.t.Helper()
	list, err := b.store.card.List(spool.Query{Limit: 1000})
	require.NoError(b.t, err)
	for i := range list {
		out = append(out, list[len(list)-1-i].Name)
	}
	return out
}

func (b *storeBench) read(file string) []byte {
	b.t.Helper()
	f, err := b.store.card.Open(file)
	require.NoError(b.t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	require.NoError(b.t, err)
	return data
}

func (b *storeBench) manifest(name string) (m cloud.Manifest, d cloud.ClipDetails) {
	b.t.Helper()
	b.statement(cloud.TypManifest, name+cloud.ExtManifest, &m)
	b.details(m.Details, &d)
	return m, d
}

func (b *storeBench) gap(file string) (g cloud.Gap, d cloud.GapDetails) {
	b.t.Helper()
	b.statement(cloud.TypGap, file, &g)
	b.details(g.Details, &d)
	require.Equal(b.t, file, g.Name+cloud.ExtGap)
	return g, d
}

func (b *storeBench) statement(typ, file string, v any) {
	b.t.Helper()
	key, _ := b.id.Signing.Public().(ed25519.PublicKey)
	require.NoError(b.t, seal.Verify(typ, key, string(b.read(file)), v))
}

func (b *storeBench) details(sealed []byte, v any) {
	b.t.Helper()
	plain, err := seal.OpenBytes(sealed, b.secret)
	require.NoError(b.t, err)
	require.NoError(b.t, json.Unmarshal(plain, v))
}

// gapsOnCard reads all gap records, in the order of their numbers.
func (b *storeBench) gapsOnCard() (out []cloud.Gap, details []cloud.GapDetails) {
	b.t.Helper()
	for _, name := range b.names() {
		if len(name) > cloud.ClipNameLen && filepath.Ext(name) == cloud.ExtManifest {
			g, d := b.gap(name)
			out, details = append(out, g), append(details, d)
		}
	}
	return out, details
}
