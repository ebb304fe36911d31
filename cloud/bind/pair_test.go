package bind

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/identity"
)

func TestM7_PairByQR(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		req := w.request("phone")
		var saved []Camera
		req.Save = func(c Camera) error {
			_, _, bound := w.store.Binding()
			require.False(t, bound, "stored only after the camera was told")
			saved = append(saved, c)
			return nil
		}
		changed := w.store.Changed()
		cam, err := w.do(req)
		require.NoError(t, err)
		require.Equal(t, w.id.Serial, cam.Serial)
		require.Equal(t, w.id.Noise.Public, cam.NoisePublic)
		epoch, bindID, bound := w.store.Binding()
		require.True(t, bound)
		require.Equal(t, uint64(1), epoch)
		require.Equal(t, []any{epoch, bindID}, []any{cam.Epoch, cam.BindID})
		require.Len(t, saved, 1)
		require.Empty(t, saved[0].Receipt)
		require.Equal(t, 1, w.bound)
		<-changed

		owner, ok := w.store.Member(req.Owner.Public)
		require.True(t, ok)
		for _, p := range cloud.AllPermissions() {
			require.True(t, w.store.Permitted(owner, p))
			require.Equal(t, []string{req.Recipient}, w.store.Recipients(p))
		}
		password, ok := w.store.Credential(owner)
		require.True(t, ok)
		require.Len(t, password, 24)
		require.Equal(t, "Ann", w.store.Members()[0].Name)

		notice, ok := w.store.Receipt()
		require.True(t, ok)
		require.Equal(t, cam.Receipt, notice.Receipt)
		require.Equal(t, "claim-token-of-phone", notice.Token)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(w.id.Chain[strings.LastIndex(w.id.Chain, "-----BEGIN"):]))
		r, dev, err := VerifyReceipt(notice.Receipt, notice.Chain, roots)
		require.NoError(t, err)
		require.Equal(t, w.id.Serial, dev.Serial)
		require.Equal(t, tokenHash(notice.Token), r.Token)

		w.restart()
		_, again, _ := w.store.Binding()
		require.Equal(t, bindID, again)
		_, ok = w.store.Receipt()
		require.True(t, ok, "the receipt is lost with the power")
		require.NoError(t, w.store.ReceiptTaken())
		w.restart()
		_, ok = w.store.Receipt()
		require.False(t, ok)
	})
}

func TestM7_PairByHandAndThenASession(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		req := w.request("phone")
		qr, err := identity.ManualQR(strings.ToLower(w.id.Serial.Plain()), w.id.Code.Reveal()[:8]+"-"+w.id.Code.Reveal()[8:])
		require.NoError(t, err)
		req.QR, req.ClaimToken = qr, cloud.Secret{}
		w.down = func(p packet) []packet { // the receipt is lost for good
			if p.msg[0] == typePairInner && p.msg[frameLen-1] == 1 {
				return nil
			}
			return []packet{p}
		}
		cam, err := w.do(req)
		require.ErrorIs(t, err, ErrUnconfirmed)
		_, ok := w.store.Receipt()
		require.False(t, ok, "a notice for a cloud that there is not")
		w.down = nil

		answer := make(chan []byte, 16)
		srv := channel.NewServer(channel.ServerConfig{
			Serial: w.id.Serial, Static: w.id.Noise, Binding: w.store.Binding, Member: w.store.Member,
			Uptime:  func() time.Duration { return time.Minute },
			Execute: func(context.Context, string, cloud.Command) cloud.Reply { return cloud.Reply{} },
			Send:    func(_ string, msg []byte) { answer <- msg },
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go srv.Run(ctx)
		c, err := channel.Dial(ctx, direct{srv, answer}, channel.ClientConfig{
			Serial: cam.Serial, Epoch: cam.Epoch, BindID: cam.BindID, ClientID: "phone",
			Static: req.Owner, Device: cam.NoisePublic,
		})
		require.NoError(t, err, "the lost receipt is not healed by a session")
		require.NoError(t, c.Call(ctx, "status.get", nil, nil))
		require.NoError(t, c.Close())
		cancel()
		synctest.Wait()
	})
}

type direct struct {
	srv *channel.Server
	in  chan []byte
}

func (d direct) Send(_ context.Context, msg []byte) error { d.srv.Receive("phone", msg); return nil }
func (d direct) Receive(ctx context.Context) ([]byte, error) {
	select {
	case m := <-d.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestWrongLabels(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		req := w.request("phone")
		req.QR.Fingerprint = identity.Fingerprint([]byte("forged"))
		_, err := w.do(req)
		require.ErrorIs(t, err, ErrFingerprint)
		require.Zero(t, w.store.failures(), "the app wrote message 3 all the same")

		req = w.request("phone")
		req.QR.Serial = cloud.NewSerial()
		_, err = w.do(req)
		require.ErrorIs(t, err, ErrNoAnswer, "another serial: another prologue")

		req = w.request("phone")
		req.Roots = x509.NewCertPool()
		_, err = w.do(req)
		require.ErrorContains(t, err, "not from a trusted factory")
		_, _, bound := w.store.Binding()
		require.False(t, bound)
	})
}

func TestBadRequests(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for want, change := range map[string]func(*PairRequest){
			"client id":    func(r *PairRequest) { r.ClientID = "a b" },
			"no serial":    func(r *PairRequest) { r.QR = identity.QR{} },
			"name of":      func(r *PairRequest) { r.Name = strings.Repeat("x", 65) },
			"be printed":   func(r *PairRequest) { r.Name = "a\nb" },
			"noise public": func(r *PairRequest) { r.Owner.Public = nil },
			"low-order":    func(r *PairRequest) { r.Owner.Public = make([]byte, 32) },
			"X25519 recip": func(r *PairRequest) { r.Recipient = "age1x" },
			"claim token":  func(r *PairRequest) { r.ClaimToken = cloud.NewSecret(strings.Repeat("x", 257)) },
		} {
			req := w.request("phone")
			change(&req)
			_, err := Pair(t.Context(), w.conn("phone"), req)
			require.ErrorContains(t, err, want)
		}
		require.Empty(t, w.seen)
	})
}

func TestLostAndDoubledMessages(t *testing.T) {
	for name, hook := range map[string]func(packet) []packet{
		"a third lost": func(p packet) []packet { return []packet{p}[:min(1, rand.IntN(3))] },
		"all doubled":  func(p packet) []packet { return []packet{p, p} },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.up, w.down = hook, hook
				var err error
				for range 20 {
					if _, err = w.do(w.request("phone")); err == nil || errors.Is(err, ErrUnconfirmed) || errors.Is(err, ErrAlreadyBound) {
						break
					}
				}
				_, _, bound := w.store.Binding()
				require.True(t, bound, "last: %v", err)
				require.Equal(t, 1, w.bound)
				require.Zero(t, w.store.failures())
			})
		})
	}
}

func TestEveryMessageLostOnce(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		once := func() func(packet) []packet {
			seen := map[string]bool{}
			return func(p packet) []packet {
				if k := string(p.msg); !seen[k] {
					seen[k] = true
					return nil
				}
				return []packet{p}
			}
		}
		w.up, w.down = once(), once()
		cam, err := w.do(w.request("phone"))
		require.NoError(t, err)
		require.NotEmpty(t, cam.Receipt)
		require.Equal(t, 1, w.bound)
		require.Len(t, w.store.Members(), 1)
	})
}

func TestS1_RecordedPairingHasNoEffect(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_, err := w.do(w.request("phone"))
		require.NoError(t, err)
		rec := w.seen
		require.Len(t, rec, 3)
		replay := func(state string) {
			before := w.store.st
			for range 3 {
				for _, p := range rec {
					w.pair.Receive("phone", p.msg)
					w.pair.Receive("other", p.msg)
				}
			}
			require.Equal(t, before, w.store.st, state)
		}
		replay("bound")
		w.restart()
		replay("bound, restarted")
		require.NoError(t, w.store.Unbind())
		replay("unbound, window closed")
		require.NoError(t, w.pair.OpenWindow())
		failures := 0
		for _, p := range rec { // message 1 begins a handshake; the old message 3 fails on it
			w.pair.Receive("phone", p.msg)
		}
		failures = w.store.failures()
		require.Equal(t, 1, failures)
		_, _, bound := w.store.Binding()
		require.False(t, bound)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		_, err = w.do(w.request("phone"))
		require.NoError(t, err)
		epoch, _, _ := w.store.Binding()
		require.Equal(t, uint64(3), epoch)
		replay("next owner")
	})
}

func TestS1_OtherCamerasMessages(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_, err := w.do(w.request("phone"))
		require.NoError(t, err)
		other := newWorld(t)
		defer other.stop()
		for _, p := range w.seen {
			other.pair.Receive(p.client, p.msg)
		}
		_, _, bound := other.store.Binding()
		require.False(t, bound)
		require.Zero(t, other.store.failures())
	})
}

// Somebody on the way who does not know the code, between an app and a camera.
func TestS1_ManInTheMiddle(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mallory := newWorld(t)
		defer mallory.stop()
		mallory.id.Serial = w.id.Serial // it pretends; the code it has not
		req := w.request("phone")
		_, err := Pair(t.Context(), mallory.conn("phone"), req)
		require.ErrorIs(t, err, ErrFingerprint)
		req.QR.Fingerprint = nil
		_, err = Pair(t.Context(), mallory.conn("phone"), req)
		require.ErrorIs(t, err, ErrWrongCode)
		for _, p := range mallory.seen {
			require.NotContains(t, string(p.msg), string(req.Owner.Public))
		}
	})
}

// The power goes before and after every write of a pairing.
func TestPowerCutLeavesBoundOrUnbound(t *testing.T) {
	errCut := errors.New("power cut")
	for cut := range 6 { // three writes: failure, taken back, binding
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				n, real := 0, w.store.write
				w.store.write = func(path string, v any) error {
					defer func() { n++ }()
					switch {
					case n < cut/2:
						return real(path, v)
					case n == cut/2 && cut%2 == 1: // written, but nobody hears of it
						require.NoError(t, real(path, v))
					}
					w.mu.Lock()
					w.down = func(packet) []packet { return nil }
					w.mu.Unlock()
					return errCut
				}
				req := w.request("phone")
				var pending Camera
				req.Save = func(c Camera) error { pending = c; return nil }
				_, err := w.do(req)
				require.Error(t, err)
				require.NotZero(t, n)
				w.down = nil
				w.restart()
				epoch, bindID, bound := w.store.Binding()
				require.Equal(t, cut == 5, bound)
				if bound {
					require.Equal(t, pending.BindID, bindID)
					require.Equal(t, pending.Epoch, epoch)
					_, ok := w.store.Receipt()
					require.True(t, ok)
					return
				}
				require.Empty(t, w.store.Members())
				_, err = w.do(req)
				require.NoError(t, err)
			})
		})
	}
}

// P1, S8: what passes in the open holds neither code nor token nor names.
func TestP1_CodeIsNeverSent(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		req := w.request("phone")
		_, err := w.do(req)
		require.NoError(t, err)
		code := w.id.Code.Reveal()
		file, err := os.ReadFile(filepath.Join(w.dir, fileBinding))
		require.NoError(t, err)
		all := string(file)
		for _, p := range append(w.seen, w.back...) {
			all += string(p.msg)
			require.NotContains(t, string(p.msg), "claim-token")
			require.NotContains(t, string(p.msg), w.id.Serial.Plain())
		}
		dashed := code[:4] + "-" + code[4:8] + "-" + code[8:12] + "-" + code[12:]
		require.NotContains(t, all, code)
		require.NotContains(t, all, dashed)
	})
}

func FuzzPairing(f *testing.F) {
	id, err := identity.NewSelfMade()
	require.NoError(f, err)
	store, err := Open(f.TempDir(), id)
	require.NoError(f, err)
	store.write = func(string, any) error { return nil }
	p := NewPairing(store, PairingConfig{Send: func(string, []byte) {}})
	p.open()
	hs, err := newHandshake(true, identity.NewKeyPair(), id.Serial, id.Code, "phone")
	require.NoError(f, err)
	m, _, _, err := hs.WriteMessage(head(typePair1, pairID{1}), nil)
	require.NoError(f, err)
	f.Add(m)
	f.Add(append(head(typePair3, pairID{1}), make([]byte, pair3Len)...))
	f.Add(append(head(typePairInner, pairID{1}), make([]byte, 40)...))
	f.Add(append(head(typePairNo, pairID{1}), 1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		p.Receive("phone", m)
		p.Receive("phone", msg)
		_, _, bound := store.Binding()
		require.False(t, bound)
		require.LessOrEqual(t, len(p.pend), maxPending)
		require.NoError(t, p.OpenWindow())
	})
}
