package rtsp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/media"
)

// roster is credentials that change.
type roster struct {
	mu        sync.Mutex
	passwords map[string]string
	asked     []string
}

func (l *roster) of(user string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, user)
	p, ok := l.passwords[user]
	return p, ok
}

func (l *roster) set(passwords map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passwords, l.asked = maps.Clone(passwords), nil
}

func (l *roster) questions() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.asked))
}

func newRosterRig(t *testing.T, l *roster, snapshot func(context.Context) ([]byte, error)) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{t: t, log: logs, stream: media.NewStream("main", 8<<20), asked: make(chan string, 100)}
	cfg := Config{Address: "127.0.0.1:0", TCP: true, UDP: true, Snapshot: snapshot, Log: zap.New(core)}
	r.Server = New(cfg, []*media.Stream{r.stream}, l.of, nil)
	r.run()
	return r
}

// watches plays as a user, and returns what is closed when that has ended.
func (r *rig) watches(transport gortsplib.Transport, user, password string) <-chan struct{} {
	r.t.Helper()
	c, _, err := r.tryClient(transport, fmt.Sprintf("rtsp://%s:%s@%s/main", user, password, r.Addr()))
	require.NoError(r.t, err)
	r.t.Cleanup(c.Close)
	_, err = c.Play(nil)
	require.NoError(r.t, err)
	over := make(chan struct{})
	go func() {
		c.Wait()
		close(over)
	}()
	return over
}

func ended(t *testing.T, what string, over ...<-chan struct{}) {
	t.Helper()
	for _, o := range over {
		select {
		case <-o:
		case <-time.After(patience):
			t.Fatal(what)
		}
	}
}

func TestS3_RecheckEndsThosePasswordEnded(t *testing.T) {
	t.Parallel()
	l := &roster{passwords: map[string]string{"m1": "one", "m2": "two", "m3": "three"}}
	r := newRosterRig(t, l, nil)
	r.play()
	tcp, udp := gortsplib.TransportTCP, gortsplib.TransportUDP
	first := []<-chan struct{}{r.watches(tcp, "m1", "one"), r.watches(udp, "m1", "one")}
	second := []<-chan struct{}{r.watches(tcp, "m2", "two"), r.watches(udp, "m2", "two")}
	third := []<-chan struct{}{r.watches(tcp, "m3", "three"), r.watches(udp, "m3", "three")}

	goesOn := func(want int) {
		t.Helper()
		eventually(t, "the rest to be there", func() bool { return r.Viewers() == want })
		before := r.Stats().Frames
		eventually(t, "media to go on", func() bool { return r.Stats().Frames >= before+uint64(3*want) })
		require.Equal(t, want, r.Viewers())
	}
	l.set(l.passwords)
	r.Recheck()
	require.Equal(t, []string{"m1", "m2", "m3"}, l.questions(), "once for each, however many sessions")
	goesOn(6)

	l.set(map[string]string{"m1": "renewed", "m2": "two"})
	r.Recheck()
	ended(t, "who has another password now, and who has none", append(first, third...)...)
	goesOn(2)

	again := r.watches(tcp, "m1", "renewed")
	r.Recheck()
	goesOn(3)
	l.set(map[string]string{"m1": "", "m2": ""})
	r.Recheck()
	ended(t, "an empty password is none", append(second, again)...)
	eventually(t, "cursors given back", func() bool { return r.stream.Ring.Stats().Readers == 0 && r.Viewers() == 0 })
	r.Recheck()
	for _, e := range r.log.All() {
		require.NotRegexp(t, "one|two|three|renewed", fmt.Sprint(e.ContextMap()))
	}
}

func BenchmarkRecheck100Viewers(b *testing.B) {
	s := New(Config{}, nil, func(string) (string, bool) { return "p", true }, nil)
	for i := range 100 {
		v := &viewer{user: fmt.Sprint(i), password: "p"}
		s.viewers[v] = struct{}{}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Recheck()
	}
}
