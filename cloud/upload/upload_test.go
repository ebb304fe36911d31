package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// keysOf lists the keys of objects in the order in which they are to be stored.
func keysOf(names ...string) (keys []string) {
	for _, n := range names {
		for _, file := range filesOf(n) {
			keys = append(keys, cloud.ObjectKey(serial, bindID, file))
		}
	}
	return keys
}

func TestM4_LanesAndPairsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		a, b, c := r.clip(t, 0, spool.Routine, 100_000), r.clip(t, 1, spool.Alarm, 10), r.clip(t, 2, spool.Routine, 10)
		require.Equal(t, 3, r.Stats().Backlog)
		require.Equal(t, "2026-01-02 03:00:00 +0000 UTC", r.Stats().Oldest.String())
		r.preload(t, 3)
		r.start(t)
		r.waitAll(t)
		s.checkStored(t, r)
		require.Equal(t, keysOf(b, a, c), s.order)
		st := r.Stats()
		require.Zero(t, st.Backlog)
		require.Empty(t, st.Sending)
		require.EqualValues(t, 3, st.Confirmed)
		require.NoError(t, st.LastError)
	})
}

// preload fetches so many objects before anything is sent.
func (r *rig) preload(t *testing.T, n int) {
	for range n {
		o, err := r.card.Next(t.Context())
		require.NoError(t, err)
		r.q.push(o, bindID)
	}
}

// While one object is sent, the grants of the next ones are on their way; but
// nothing is sent before what came before it is confirmed.
func TestM4_GrantsAreAskedAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		var open, most atomic.Int32
		r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			time.Sleep(4 * time.Second)
			return s.honest(q, g)
		})
		s.setFault(func(_ http.ResponseWriter, req *http.Request, _ string) bool {
			if req.Method == http.MethodPut {
				time.Sleep(3 * time.Second)
			}
			return false
		})
		for i := range 20 {
			r.clip(t, i, spool.Routine, 1000)
		}
		began := time.Now()
		r.start(t)
		r.waitAll(t)
		require.Equal(t, keysOf(r.names...), s.order)
		require.Less(t, time.Since(began), (20*2*3+10)*time.Second, "40 PUTs of 3 s, and the cloud's 4 s only once")
		require.LessOrEqual(t, most.Load(), int32(2*ahead))
		require.Zero(t, r.Stats().Retries)
	})
}

// An alarm waits half a second for what is being sent; then it overtakes, while
// the other one gives way but is not given up. A full queue hides nothing.
func TestM4_AlarmOvertakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 100_000
		r := honest(t, s)
		for i := range 6 {
			r.clip(t, i, spool.Routine, 2_000_000) // 20 s each
		}
		r.start(t)
		time.Sleep(5 * time.Second)
		require.Equal(t, 4, r.held())
		st := r.Stats()
		require.Len(t, st.Sending, 1)
		require.Equal(t, r.names[0]+".mp4.age", st.Sending[0].File)
		require.Equal(t, spool.Routine, st.Sending[0].Lane)
		require.InDelta(t, 500_000, st.Sending[0].Sent, 50_000)

		began := time.Now()
		alarm := r.clip(t, 9, spool.Alarm, 1_000_000) // 10 s, if it has the uplink for itself
		time.Sleep(time.Second)
		require.Len(t, r.Stats().Sending, 2)
		require.NoError(t, r.Wait(t.Context(), alarm))
		require.Less(t, time.Since(began), 13*time.Second)
		require.Equal(t, keysOf(alarm), s.order)
		r.waitAll(t)
		s.checkStored(t, r)
		require.Equal(t, keysOf(append([]string{alarm}, r.names[:6]...)...), s.order)
		require.Equal(t, 12+2, s.puts, "nothing was sent twice")
		require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
		require.Equal(t, 2, s.net.dials)
	})
}

// One that ends soon is waited for: there is no second connection.
func TestM4_AlarmGoesNextOnTheSameConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 100_000
		r := honest(t, s)
		for i := range 6 {
			r.clip(t, i, spool.Routine, 10_000) // 0.1 s each
		}
		r.start(t)
		time.Sleep(150 * time.Millisecond)
		alarm := r.clip(t, 9, spool.Alarm, 1000)
		r.waitAll(t)
		require.Contains(t, s.order[:8], keysOf(alarm)[0])
		require.Equal(t, 1, s.net.dials)
	})
}

func (r *rig) held() int {
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	return len(r.q.jobs)
}

// A grant that has expired while it waited is asked anew, without troubling the store.
func TestR8_GrantsThatExpireWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		var asked atomic.Int32
		r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
			asked.Add(1)
			*g = s.grant(q)
			until := time.Now().Add(time.Minute).Unix()
			g.Put.URL += fmt.Sprintf("&X-Amz-Expires=60&until=%d", until)
			g.Head.URL += fmt.Sprintf("&X-Amz-Expires=60&until=%d", until)
			return nil
		})
		var late atomic.Int32
		s.setFault(func(w http.ResponseWriter, req *http.Request, _ string) bool {
			var until int64
			fmt.Sscan(req.URL.Query().Get("until"), &until)
			if time.Now().Unix() > until {
				late.Add(1)
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			if req.Method == http.MethodPut {
				time.Sleep(25 * time.Second)
			}
			return false
		})
		for i := range 6 {
			r.clip(t, i, spool.Routine, 1000)
		}
		r.start(t)
		r.waitAll(t)
		require.Zero(t, late.Load())
		require.Zero(t, r.Stats().Retries)
		require.Greater(t, asked.Load(), int32(12))
		require.Equal(t, 12, s.puts)
	})
}

// A refused grant is asked anew at once, and once.
func TestR8_RefusedGrantIsAskedAnew(t *testing.T) {
	for _, method := range []string{http.MethodPut, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newMemStore(t)
				var asked atomic.Int32
				r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
					*g = s.grant(q)
					n := asked.Add(1)
					g.Put.URL += fmt.Sprint("&n=", n)
					g.Head.URL += fmt.Sprint("&n=", n)
					return nil
				})
				s.setFault(func(w http.ResponseWriter, req *http.Request, _ string) bool {
					var n int32
					fmt.Sscan(req.URL.Query().Get("n"), &n)
					if req.Method != method || n > 2 {
						return false
					}
					w.WriteHeader(http.StatusForbidden)
					return true
				})
				r.clip(t, 0, spool.Routine, 10)
				began := time.Now()
				r.start(t)
				r.waitAll(t)
				require.Zero(t, time.Since(began), "no waiting")
				require.Zero(t, r.Stats().Retries)
				require.EqualValues(t, 4, asked.Load())
				if method == http.MethodHead {
					require.Equal(t, 2, s.puts, "what was sent is looked for, not sent again")
				}
				s.checkStored(t, r)
			})
		})
	}
}

// A key that may not list gets 403 for what is not there.
func TestR2_ForbiddenLookOfWhatIsMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		first := true
		s.setFault(func(w http.ResponseWriter, req *http.Request, key string) bool {
			if req.Method == http.MethodPut && first {
				first = false
				return true // says that it has it
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.objects[key] == nil && req.Method == http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		})
		r.clip(t, 0, spool.Routine, 10)
		r.start(t)
		r.waitAll(t)
		s.checkStored(t, r)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": 0, "-3": 0, "soon": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):    0,
		time.Now().Add(9 * time.Hour).UTC().Format(http.TimeFormat): maxRetryAfter,
	} {
		resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {header}}}
		require.Equal(t, want, retryAfter(fmt.Errorf("x: %w", newStatusError("PUT", resp, nil))), header)
	}
	for _, status := range []int{503, 429, 403} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newMemStore(t)
				r := honest(t, s)
				var first time.Time
				s.setFault(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
					if first.IsZero() {
						first = time.Now()
						w.Header().Set("Retry-After", "60")
						w.WriteHeader(status)
						return true
					}
					if time.Since(first) < time.Minute {
						t.Error("it was not waited")
					}
					return false
				})
				r.clip(t, 0, spool.Routine, 10)
				r.start(t)
				synctest.Wait()
				time.Sleep(time.Second)
				require.Positive(t, time.Until(r.Stats().NextTry))
				r.clip(t, 1, spool.Alarm, 10) // not even an alarm
				r.Kick()
				r.waitAll(t)
				require.Less(t, time.Since(first), 62*time.Second)
				require.EqualValues(t, 1, r.Stats().Retries)
			})
		})
	}
}

// An alarm does not sit out a back-off of minutes.
func TestM4_AlarmCutsABackOffShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		s.setFault(func(w http.ResponseWriter, _ *http.Request, _ string) bool { w.WriteHeader(500); return true })
		r.clip(t, 0, spool.Routine, 10)
		r.start(t)
		for time.Until(r.Stats().NextTry) < time.Minute {
			time.Sleep(time.Second)
		}
		s.setFault(nil)
		began := time.Now()
		alarm := r.clip(t, 1, spool.Alarm, 10)
		require.NoError(t, r.Wait(t.Context(), alarm))
		require.Less(t, time.Since(began), hurryWithin)
		require.Equal(t, keysOf(alarm), s.order[:2])
	})
}

// Something else under our name: never released, never overwritten, and the
// others go on.
func TestR2_ForeignObjectUnderOurName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		bad := r.clip(t, 0, spool.Alarm, 10)
		s.objects[keysOf(bad)[0]] = []byte("not ours")
		good := r.clip(t, 1, spool.Routine, 10)
		r.start(t)
		r.names = []string{good}
		r.waitAll(t)
		require.True(t, r.card.Pending(bad))
		require.EqualValues(t, 1, r.Stats().Refused)
		require.Equal(t, "not ours", string(s.objects[keysOf(bad)[0]]))
	})
}

type finalError struct{}

func (finalError) Error() string   { return "no" }
func (finalError) Permanent() bool { return true }

func TestFinalRefusalHoldsUpNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		var asked atomic.Int32
		r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
			if strings.Contains(q.Key, "T0300") && strings.HasSuffix(q.Key, ".mp4.age") {
				asked.Add(1)
				return fmt.Errorf("asking: %w", finalError{})
			}
			return s.honest(q, g)
		})
		bad, good := r.clip(t, 0, spool.Alarm, 10), r.clip(t, 1, spool.Routine, 10)
		r.start(t)
		r.names = []string{good}
		r.waitAll(t)
		require.True(t, r.card.Pending(bad))
		require.LessOrEqual(t, asked.Load(), int32(2))
		require.EqualValues(t, 1, r.Stats().Refused)
	})
}

func TestR8_CloudAwayThenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		var back atomic.Bool
		r := newRig(t, s.config(), func(q cloud.GrantRequest, g *cloud.Grant) error {
			if !back.Load() {
				return errors.New("offline")
			}
			return s.honest(q, g)
		})
		for i := range 9 {
			r.clip(t, i, spool.Routine, 10)
		}
		r.start(t)
		time.Sleep(12 * time.Hour)
		require.ErrorContains(t, r.Stats().LastError, "offline")
		require.InDelta(t, 12*60/2.5, r.Stats().Retries, 90, "every two and a half minutes")
		back.Store(true)
		began := time.Now()
		r.Kick()
		r.waitAll(t)
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, keysOf(r.names...), s.order)
		s.checkStored(t, r)
	})
}

func TestNothingLeavesWithoutPrefix(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		var bound atomic.Bool
		cfg := s.config()
		cfg.Prefix = func() (string, bool) { return bindID, bound.Load() }
		r := newRig(t, cfg, func(q cloud.GrantRequest, g *cloud.Grant) error {
			if !bound.Load() {
				t.Error("asked without a binding")
			}
			return s.honest(q, g)
		})
		r.clip(t, 0, spool.Routine, 10)
		r.start(t)
		time.Sleep(time.Hour)
		require.Zero(t, r.Stats().Retries)
		bound.Store(true)
		r.Kick()
		r.waitAll(t)
	})
}

// P12: what is switched off ends in the middle of a transfer.
func TestP12_NothingLeavesAfterSwitchingOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 1000
		off := atomic.Bool{}
		cfg := s.config()
		cfg.Prefix = func() (string, bool) { return bindID, !off.Load() }
		r := newRig(t, cfg, s.honest)
		name := r.clip(t, 0, spool.Routine, 1_000_000)
		r.start(t)
		time.Sleep(time.Minute)
		off.Store(true)
		r.Kick()
		time.Sleep(time.Second)
		s.net.set(func(m *memNet) { m.sent = nil })
		time.Sleep(time.Hour)
		s.net.set(func(m *memNet) { require.Empty(t, m.sent) })
		require.Zero(t, r.Stats().Retries)
		require.True(t, r.card.Pending(name))
		off.Store(false)
		r.Kick()
		r.waitAll(t)
		s.checkStored(t, r)
	})
}

// What is wiped while it is held, or sent, is forgotten.
func TestP7_WipedObjectsAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 1000
		r := honest(t, s)
		var unbound atomic.Bool
		r.cfg.Prefix = func() (string, bool) { return bindID, !unbound.Load() }
		var gone []string
		for i := range 3 {
			gone = append(gone, r.clip(t, i, spool.Routine, 100_000))
		}
		r.start(t)
		time.Sleep(10 * time.Second)
		waited := make(chan error, 1)
		go func() { waited <- r.Wait(t.Context(), gone[0]) }()
		time.Sleep(time.Second)
		unbound.Store(true)
		r.Kick()
		require.NoError(t, r.card.Wipe())
		require.Error(t, <-waited)
		unbound.Store(false)
		r.Kick()
		r.names = nil
		r.clip(t, 5, spool.Routine, 10)
		r.waitAll(t)
		require.Zero(t, r.Stats().Backlog)
		for _, key := range keysOf(gone[1:]...) {
			require.NotContains(t, s.objects, key)
		}
	})
}

// A card that comes back offers again what is held: it is sent once.
func TestR7_ObjectOfferedTwiceIsSentOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(time.Minute)
	o := spool.Object{Name: "a", Lane: spool.Routine, Parts: []spool.Part{{Name: "a"}}}
	q.push(o, bindID)
	q.push(o, bindID)
	require.Len(t, q.jobs, 1)
}

func TestWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		name := r.clip(t, 0, spool.Routine, 10)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.Wait(ctx, name), context.Canceled)
		require.Empty(t, r.waiters)
		r.start(t)
		r.waitAll(t)
		require.NoError(t, r.Wait(ctx, name), "already confirmed")
		require.Empty(t, r.waiters)
	})
}

// The end of Run gives everything back to the card.
func TestR2_EndOfRunGivesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 1000
		r := honest(t, s)
		for i := range 6 {
			r.clip(t, i, spool.Routine, 100_000)
		}
		for range 3 {
			r.start(t)
			time.Sleep(10 * time.Second)
			r.stop()
			require.Zero(t, r.held())
		}
		r.start(t)
		r.waitAll(t)
		s.checkStored(t, r)
		require.Equal(t, keysOf(r.names...), s.order)
	})
}

// R3-like: no window of time has more than the cap and one burst, whatever is
// sent, alarms on a second connection included.
func TestM4_BandwidthCapHoldsInBursts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		cfg := s.config()
		const bandwidth = 50_000
		cfg.Bandwidth = bandwidth
		r := newRig(t, cfg, s.honest)
		for i := range 4 {
			r.clip(t, i, spool.Routine, 400_000)
		}
		r.start(t)
		time.Sleep(3 * time.Second)
		r.clip(t, 8, spool.Alarm, 100_000)
		time.Sleep(time.Second)
		require.Len(t, r.Stats().Sending, 2)
		r.waitAll(t)
		time.Sleep(time.Minute) // idle: the bucket is no fuller than a burst
		r.clip(t, 9, spool.Routine, 400_000)
		r.waitAll(t)
		s.checkStored(t, r)
		sent, total := s.net.sent, 0
		for i := range sent {
			total += sent[i].n
			n := 0
			for j := i; j < len(sent) && sent[j].at.Sub(sent[i].at) <= time.Second; j++ {
				n += sent[j].n
			}
			require.LessOrEqual(t, n, bandwidth+burst+100)
		}
		require.Greater(t, total, 2_100_000)
		require.Zero(t, r.Stats().Retries, "%v", r.Stats().LastError)
	})
}

func TestM4_CapIsUsed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		cfg := s.config()
		cfg.Bandwidth = 4000 // the least: an hour for what follows
		r := newRig(t, cfg, s.honest)
		began := time.Now()
		r.clip(t, 0, spool.Routine, 4000*3600)
		r.start(t)
		r.waitAll(t)
		require.InDelta(t, 3600, time.Since(began).Seconds(), 60)
		require.Zero(t, r.Stats().Retries, "slow is not stalled: %v", r.Stats().LastError)
	})
}

func TestM4_BandwidthIsChecked(t *testing.T) {
	t.Parallel()
	s := newFakeStore(t)
	cfg := s.config()
	cfg.Spool, cfg.Ask = &spool.Spool{}, func(context.Context, string, any, any) error { return nil }
	cfg.Prefix = func() (string, bool) { return "", false }
	for n, ok := range map[int64]bool{0: true, -1: false, 1: false, minBandwidth: true, 1 << 40: true} {
		cfg.Bandwidth = n
		_, err := New(cfg)
		require.Equal(t, ok, err == nil, n)
	}
}

// liar gives wrong hashes, as a manifest does beside footage that the card has altered.
type liar struct{ *judge }

func (l liar) Next(ctx context.Context) (spool.Object, error) {
	o, err := l.judge.Next(ctx)
	if err == nil {
		o.Parts[0].SHA256[7]++
	}
	return o, err
}

func TestR2_AlteredOnTheCardIsUploadedAsItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		r := honest(t, s)
		r.cfg.Spool = liar{r.cfg.Spool.(*judge)}
		r.clip(t, 0, spool.Routine, 1000)
		r.start(t)
		r.waitAll(t)
		s.checkStored(t, r)
		require.Zero(t, r.Stats().Refused)
		require.EqualValues(t, 1, r.Stats().Retries)
	})
}
