package bind

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

func TestS2_TenFailuresCloseTheWindowAcrossRestarts(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for i := range maxFailures {
			_, err := w.do(wrongCode(w.request("guess")))
			require.ErrorIs(t, err, ErrWrongCode, "guess %d", i)
			time.Sleep(2 * time.Second)
			if i%3 == 0 {
				w.restart()
			}
		}
		require.False(t, w.pair.Open())
		_, err := w.do(w.request("phone"))
		require.ErrorIs(t, err, ErrWindowClosed)
		w.restart()
		require.False(t, w.pair.Open(), "a restart gives another ten")
		time.Sleep(2 * time.Second)
		_, err = w.do(w.request("phone"))
		require.ErrorIs(t, err, ErrWindowClosed)
		require.NoError(t, w.pair.OpenWindow())
		_, err = w.do(w.request("phone"))
		require.NoError(t, err)
	})
}

func TestS2_SuccessTakesOnlyItsOwnFailureBack(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_, err := w.do(wrongCode(w.request("guess")))
		require.ErrorIs(t, err, ErrWrongCode)
		require.Equal(t, 1, w.store.failures())
		req := w.request("phone")
		req.Save = func(Camera) error { return errors.New("disk full") }
		_, err = w.do(req)
		require.ErrorContains(t, err, "disk full")
		require.Equal(t, 1, w.store.failures())
		_, _, bound := w.store.Binding()
		require.False(t, bound)
	})
}

// A thief with a plug: the power goes at the very check.
func TestS2_FailureIsDurableBeforeTheCheck(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var onDisk []int
		w.store.write = func(path string, v any) error {
			onDisk = append(onDisk, v.(state).Failures)
			return errors.New("power cut")
		}
		_, err := w.do(w.request("phone"))
		require.ErrorIs(t, err, ErrNoAnswer)
		require.NotEmpty(t, onDisk)
		require.Equal(t, 1, onDisk[0])
		for _, p := range w.back {
			require.NotEqual(t, byte(typePairInner), p.msg[0], "checked without counting")
		}
	})
}

func TestS1_BoundCameraRefusesEveryPairing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		_, err := w.do(w.request("phone"))
		require.NoError(t, err)
		before, err := os.ReadFile(filepath.Join(w.dir, fileBinding))
		require.NoError(t, err)
		require.NoError(t, w.pair.OpenWindow())
		require.False(t, w.pair.Open())
		for _, r := range []bool{false, true} {
			if r {
				w.restart()
			}
			_, err = w.do(w.request("thief"))
			require.ErrorIs(t, err, ErrAlreadyBound)
			_, err = w.do(wrongCode(w.request("guess")))
			require.ErrorIs(t, err, ErrAlreadyBound)
		}
		after, err := os.ReadFile(filepath.Join(w.dir, fileBinding))
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}

func TestTwoAppsAtOnceOneWins(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		type result struct {
			client string
			err    error
		}
		results := make(chan result, 2)
		for _, client := range []string{"one", "two"} {
			req := w.request(client)
			go func() {
				_, err := Pair(t.Context(), w.conn(client), req)
				results <- result{client, err}
			}()
		}
		won := 0
		for range 2 {
			if r := <-results; r.err == nil {
				won++
			} else {
				require.ErrorIs(t, r.err, ErrAlreadyBound, r.client)
			}
		}
		synctest.Wait()
		require.Equal(t, 1, won)
		require.Len(t, w.store.Members(), 1)
		require.Equal(t, 1, w.bound)
	})
}

func TestWindowTimes(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		require.True(t, w.pair.Open())
		time.Sleep(10*time.Minute - time.Second)
		require.True(t, w.pair.Open())
		time.Sleep(time.Second)
		require.False(t, w.pair.Open())
		_, err := w.do(w.request("phone"))
		require.ErrorIs(t, err, ErrWindowClosed)
		require.NoError(t, w.pair.OpenWindow())
		require.True(t, w.pair.Open())
	})
}

func TestR6_PendingHandshakesAndAnswersAreBounded(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		begin := func(client string) {
			hs, err := newHandshake(true, identity.NewKeyPair(), w.id.Serial, cloud.NewCode(), client)
			require.NoError(t, err)
			m, _, _, err := hs.WriteMessage(head(typePair1, pairID{byte(rand.IntN(256)), byte(rand.IntN(256)), 7}), nil)
			require.NoError(t, err)
			w.pair.Receive(client, m)
		}
		for i := range 30 {
			begin(fmt.Sprint("c", i))
			require.LessOrEqual(t, w.pending(), maxPending)
		}
		time.Sleep(pendingFor + 2*time.Second)
		require.Zero(t, w.pending())
		w.back = nil
		for i := range 300 {
			msg := append(head(typePair3, pairID{}), make([]byte, pair3Len)...)
			w.pair.Receive(fmt.Sprint("d", i%100), msg)
		}
		require.LessOrEqual(t, len(w.back), maxTold)
		require.LessOrEqual(t, len(w.pair.told), maxTold)
		require.Zero(t, w.store.failures(), "a message 3 without a handshake counts")
		time.Sleep(2 * time.Second)
		_, err := w.do(w.request("phone"))
		require.NoError(t, err)
	})
}

func (w *world) pending() int {
	w.pair.mu.Lock()
	defer w.pair.mu.Unlock()
	return len(w.pair.pend)
}
