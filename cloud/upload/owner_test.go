package upload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// otherID is the binding of the owner before.
const otherID = "ffffffffffffffffffffffffffffffff"

// owners is a camera whose owner changes while it runs, and its card, which offers
// to each what was recorded for them.
type owners struct {
	*spool.Spool
	mu   sync.Mutex
	now  string
	of   map[string]string // by name
	kept []string          // came back for another owner than theirs
	then string            // the owner once the next object has been given, if set
}

func (o *owners) prefix() (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now, o.now != ""
}

func (o *owners) set(now string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = now
}

func (o *owners) Next(ctx context.Context) (spool.Object, error) {
	for {
		k, err := o.Spool.Next(ctx)
		if err != nil || o.offers(k.Name) {
			return k, err
		}
	}
}

func (o *owners) offers(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	yes := o.of[name] == o.now
	if !yes {
		o.kept = append(o.kept, name)
	}
	if yes && o.then != "" {
		o.now, o.then = o.then, ""
	}
	return yes
}

// clip closes a clip for an owner.
func (o *owners) clip(t *testing.T, r *rig, i int, owner string, size int) string {
	t.Helper()
	o.mu.Lock()
	o.of[clipName(i)] = owner
	o.mu.Unlock()
	return r.clip(t, i, spool.Routine, size)
}

func newOwners(t *testing.T, s *fakeStore, now string) (*owners, *rig) {
	t.Helper()
	o := &owners{now: now, of: map[string]string{}}
	cfg := s.config()
	cfg.Prefix = o.prefix
	r := newRig(t, cfg, s.honest)
	o.Spool, r.cfg.Spool = r.card, o
	return o, r
}

// keysBelow lists what lies, or was asked for, below a binding.
func (s *fakeStore) keysBelow(bind string) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.objects {
		if strings.Contains(k, bind) {
			keys = append(keys, k)
		}
	}
	return keys
}

// What was held, or in flight, when the owner changed goes back to the card, and
// only what was recorded for the new one goes to them.
func TestR2_P7_HeldObjectsAreNotPutUnderAnotherOwner(t *testing.T) {
	for name, between := range map[string]string{"unbound first": "", "in one change": bindID} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newMemStore(t)
				s.net.rate = 1000
				o, r := newOwners(t, s, otherID)
				var before []string
				for i := range 6 {
					before = append(before, o.clip(t, r, i, otherID, 100_000))
				}
				r.start(t)
				time.Sleep(10 * time.Second)
				require.Equal(t, ahead, r.held())
				require.Len(t, r.Stats().Sending, 1)
				o.set(between)
				r.Kick()
				time.Sleep(time.Minute)
				require.Zero(t, r.held(), "all went back, also what was in flight")
				o.set(bindID)
				r.Kick()
				r.names = []string{o.clip(t, r, 9, bindID, 10)}
				began := time.Now()
				r.waitAll(t)
				require.Less(t, time.Since(began), time.Minute, "nobody waits for what was broken off")
				require.ElementsMatch(t, keysOf(r.names...), s.keysBelow(bindID))
				require.Empty(t, s.keysBelow(otherID))
				require.Subset(t, o.kept, before[:ahead])
				for _, n := range before {
					require.True(t, r.card.Pending(n), "it waits for its owner")
				}
			})
		})
	}
}

// Nobody says that the owner has changed: what is looked at when its turn comes is
// enough.
func TestR2_P7_TurnsAreForTheOwnerOfTheObject(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 10_000
		o, r := newOwners(t, s, otherID)
		var names []string
		for i := range 3 {
			names = append(names, o.clip(t, r, i, otherID, 100_000))
		}
		r.start(t)
		time.Sleep(5 * time.Second) // the first is in flight
		o.set(bindID)
		time.Sleep(time.Hour)
		require.Empty(t, s.keysBelow(bindID))
		for _, key := range s.keysBelow(otherID) {
			require.Contains(t, key, names[0])
		}
		require.Zero(t, r.held())
	})
}

// The owner changes in the moment in which the card gives an object.
func TestR2_P7_GivenInTheMomentOfTheChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		o, r := newOwners(t, s, otherID)
		o.clip(t, r, 1, otherID, 10)
		o.then = bindID
		r.start(t)
		time.Sleep(time.Hour)
		require.Empty(t, s.objects)
		require.Zero(t, r.held())
	})
}

// What comes while the card is waited for belongs to who is the owner then.
func TestR2_P7_WhatComesAfterTheChangeIsTheNewOwners(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		o, r := newOwners(t, s, otherID)
		r.start(t)
		time.Sleep(time.Minute) // in Next
		o.set(bindID)
		r.Kick()
		o.clip(t, r, 1, bindID, 10)
		r.waitAll(t)
		require.ElementsMatch(t, keysOf(r.names...), s.keysBelow(bindID))
		require.Empty(t, s.keysBelow(otherID))
	})
}

// With the card itself, which knows by what was signed for whom it recorded: what
// waits, is held or is in flight when the owner changes in the same run stays there.
func TestR2_P7_WhatWaitsIsNotUploadedForTheNextOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newMemStore(t)
		s.net.rate = 1000
		o := &owners{now: otherID}
		cfg := s.config()
		cfg.Prefix = o.prefix
		r := newRigOn(t, spool.Config{Owner: func() spool.Owner {
			now, _ := o.prefix()
			return spool.Owner{Serial: serial, BindID: now}
		}}, cfg, s.honest)
		record := func(i int, bind string, size int) {
			raw, err := json.Marshal(cloud.Statement{V: 1, Serial: serial, Epoch: 1, BindID: bind})
			require.NoError(t, err)
			f, err := r.card.Create(clipName(i))
			require.NoError(t, err)
			_, err = f.Write(make([]byte, size))
			require.NoError(t, err)
			_, err = f.Commit(spool.Routine, []byte("e30."+base64.RawURLEncoding.EncodeToString(raw)+".c2ln"))
			require.NoError(t, err)
		}
		for i := range 8 {
			record(i, otherID, 100_000)
		}
		r.start(t)
		time.Sleep(10 * time.Second)
		require.Equal(t, ahead, r.held())
		for _, next := range []string{"", bindID} {
			o.set(next)
			r.Kick()
			time.Sleep(time.Minute)
		}
		record(9, bindID, 10)
		r.names = []string{clipName(9)}
		r.waitAll(t)
		time.Sleep(time.Hour)
		require.ElementsMatch(t, keysOf(clipName(9)), s.keysBelow(bindID))
		require.Empty(t, s.keysBelow(otherID))
		require.Equal(t, 8, r.card.Stats().Foreign)
	})
}
