package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/media/clip"
)

// R3, R7: one failure does not throw away what was synced: it is closed as cut at
// once, and the recorder is told behind which picture to go on.
func TestR3_R7_FailedClipIsClosedWithWhatIsWhole(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	b.frame = 500
	k := b.create()
	b.fragments(k, 10, 100<<10)
	require.NoError(t, b.store.recover(false))
	require.Empty(t, b.names(), "it is open")
	next := k.Fail(760)
	require.Equal(t, uint64(500+9*25), next)
	require.NoError(t, b.store.recover(false))
	_, d := b.manifest(k.name)
	require.Equal(t, next-1, d.LastFrame)
	require.True(t, d.Cut)
	require.Empty(t, b.store.card.Unfinished())
	require.Zero(t, b.store.open.Load())

	b.frame = 0
	k = b.create()
	b.fragments(k, 1, 1000)
	require.Zero(t, k.Fail(30), "nothing is whole")
	require.NotContains(t, b.names(), k.name)
	left, err := os.ReadDir(filepath.Join(b.cardDir(), "open"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// R2: a card that is away for a moment: what recovery closes of a clip ends where
// the recorder goes on, whoever looks first.
func TestR2_R7_CardThatIsBackHasNoPictureTwice(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]bool{"before the recorder noticed": false, "afterwards": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			k := b.create()
			b.fragments(k, 4, 100<<10)
			away := b.cardDir() + ".away"
			require.NoError(t, os.Rename(b.cardDir(), away))
			require.NoError(t, b.store.card.Attach()) // another folder
			_, err := k.Write(make([]byte, 300<<10))
			require.ErrorIs(t, errors.Join(err, k.Sync(b.info(125))), spool.ErrGone)
			var next uint64
			if told {
				next = k.Fail(130)
			}
			require.NoError(t, os.RemoveAll(b.cardDir()))
			require.NoError(t, os.Rename(away, b.cardDir()))
			require.NoError(t, b.store.card.Attach())
			require.NoError(t, b.store.recover(true))
			if !told {
				require.Empty(t, b.names(), "what becomes of it is not known")
				next = k.Fail(130)
				require.NoError(t, b.store.recover(false))
			}
			_, d := b.manifest(k.name)
			require.Equal(t, uint64(75), next)
			require.Equal(t, next-1, d.LastFrame)
		})
	}
}

// R3: a state folder that takes no write for a moment costs no clip: neither one
// that was cut, nor one that was just closed, of which nothing is missing.
func TestR3_ClipWaitsForItsSignature(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	cut := b.create()
	plain := b.fragments(cut, 10, 100<<10)
	require.NotEmpty(t, plain)
	b.cut()
	b.open()
	good := b.store.chains.path
	b.store.chains.path = filepath.Join(t.TempDir(), "no", "chains.json")
	require.Error(t, b.store.recover(true))
	b.frame = 1000
	k := b.create()
	b.fragments(k, 2, 1000)
	require.Error(t, k.Close(b.info(60)))
	require.Equal(t, uint64(1060), k.Fail(1059), "all of it is kept")
	b.store.chains.path = good
	require.NoError(t, b.store.recover(true))
	require.Equal(t, []string{cut.name, k.name}, b.names())
	_, d := b.manifest(k.name)
	require.False(t, d.Cut)
	require.Equal(t, 60, d.Frames)
	_, d = b.manifest(cut.name)
	require.True(t, d.Cut)
	b.cut()
	b.start()
	require.Contains(t, b.names(), k.name)
}

// P7: what was filmed for the owner before is not recorded for the new one, nor is
// he told of it.
func TestP7_PicturesOfTheOwnerBefore(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	before := time.Now()
	k := b.create()
	b.fragments(k, 4, 100<<10)
	b.again()
	b.store.binding = b.binding
	create := func(at time.Time) error {
		sink, err := b.store.Create(t.Context(), clip.Start{Stream: "main", Time: at, Order: clip.Order{Trigger: "continuous"}})
		if err == nil {
			sink.Fail(0)
		}
		return err
	}
	require.ErrorIs(t, create(time.Now()), errRebound, "nobody has looked at the binding yet")
	require.True(t, b.store.rebind())
	require.False(t, b.store.rebind())
	require.ErrorIs(t, create(before), errRebound)
	require.NoError(t, create(time.Now()))
	require.ErrorIs(t, k.Close(b.info(100)), errRebound)
	require.Equal(t, uint64(131), k.Fail(130), "nothing of it may come again")
	b.store.Missed(clip.Miss{Stream: "main", From: before, To: before.Add(time.Millisecond), LastFrame: 9, Err: errRebound})
	require.Empty(t, b.store.gaps.state.Ended)
	require.Empty(t, codes(b.store.health))
}

// P7: a receipt that the cloud takes its time for holds up nothing when the binding
// changes, and the next one is not taken for it.
func TestP7_BindingThatChangesEndsTheOffer(t *testing.T) {
	t.Parallel()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, answer := range []error{nil, link.ErrOffline} {
			a := &Agent{log: zap.NewNop(), health: newHealth(zap.NewNop()), binding: boundStore(t, ctx, id, folder(t, dir))}
			a.ask = func(ctx context.Context, _ string, _, _ any) error { <-ctx.Done(); return answer }
			changed := make(chan struct{})
			done := make(chan error)
			go func() { done <- a.deliverReceipt(ctx, changed) }()
			synctest.Wait()
			began := time.Now()
			close(changed)
			if err := <-done; err != nil || time.Since(began) > 0 {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if _, ok := a.binding.Receipt(); !ok || len(a.health.conditions()) > 0 {
				t.Errorf("receipt kept: %v, %+v", ok, a.health.conditions())
			}
		}
	})
}

// M3: when something is recorded after the mode was off, what was captured before
// is not to be kept.
func TestM3_SwitchedOnForgetsWhatWasBefore(t *testing.T) {
	t.Parallel()
	now := time.Now()
	d := decider{newID: func() string { return "id" }}
	var got bytes.Buffer
	step := func(mode string) {
		now = now.Add(time.Second)
		if is := d.decide(now, mode, false); is.forget.IsZero() {
			got.WriteString(".")
		} else {
			require.Equal(t, now, is.forget)
			got.WriteString("F")
		}
	}
	step("continuous") // somebody owns it now
	step("events")
	step("off")
	step("events")
	step("continuous")
	step("off")
	d.start(now, 0)
	step("off")
	step("off")
	step("events") // the command goes on
	step("")
	step("continuous")
	require.Equal(t, "F..F..F...F", got.String())
}

func folder(t *testing.T, parent string) string {
	dir, err := os.MkdirTemp(parent, "")
	require.NoError(t, err)
	return dir
}
