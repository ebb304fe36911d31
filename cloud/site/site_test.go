package site

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("down")

// world is sites on a network, a binding, and a link that asks the Chooser.
type world struct {
	t     *testing.T
	dir   string
	sites []Site

	mu       sync.Mutex
	delays   map[string][]time.Duration // by broker, taken in turn; none: down
	refuses  map[string]bool            // answers TLS, and takes no camera
	taken    map[string]int
	bindID   string
	epoch    uint64
	changed  chan struct{}
	attempts []string // brokers
	at       string   // broker of the connection that stands
	cut      chan struct{}
	wake     chan struct{}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), delays: map[string][]time.Duration{}, refuses: map[string]bool{}, taken: map[string]int{}, changed: make(chan struct{}),
		wake: make(chan struct{}, 1)}
	for i, name := range []string{"singapore", "beijing", "frankfurt", "california"} {
		w.sites = append(w.sites, Site{name, name + ":8883"})
		w.set(name, time.Duration(400-100*i)*time.Millisecond)
	}
	return w
}

// set gives a site other connect times; none: it is down, and its connections end.
func (w *world) set(name string, delays ...time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delays[name+":8883"] = delays
	if len(delays) == 0 && w.at == name+":8883" {
		close(w.cut)
		w.at = ""
	}
}

func (w *world) refuse(name string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses[name+":8883"] = yes
	if yes && w.at == name+":8883" {
		close(w.cut)
		w.at = ""
	}
}

// drop cuts the connection that stands.
func (w *world) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.cut)
	w.at = ""
}

func (w *world) bind(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bindID, w.epoch = id, w.epoch+1
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) probe(ctx context.Context, broker string) (time.Duration, error) {
	w.mu.Lock()
	list := w.delays[broker]
	w.taken[broker]++
	n := w.taken[broker]
	w.mu.Unlock()
	if len(list) == 0 {
		<-ctx.Done() // as a network that drops packets
		return 0, ctx.Err()
	}
	began, d := time.Now(), list[(n-1)%len(list)]
	select {
	case <-time.After(d):
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (w *world) chooser(pin string) *Chooser {
	w.t.Helper()
	c, err := New(Config{Sites: w.sites, Pin: pin, Dir: w.dir, Probe: w.probe,
		Binding: func() (uint64, string, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.epoch, w.bindID, w.bindID != ""
		},
		Changed: func() <-chan struct{} { w.mu.Lock(); defer w.mu.Unlock(); return w.changed },
		Move: func() {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		},
	})
	require.NoError(w.t, err)
	return c
}

// connect is one attempt: it stands until the broker goes down, or is to move.
func (w *world) connect(broker string) (cut chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, broker)
	if len(w.delays[broker]) == 0 || w.refuses[broker] {
		return nil, errDown
	}
	w.at, w.cut = broker, make(chan struct{})
	return w.cut, nil
}

// start runs a camera; stop ends it.
func (w *world) start(pin string) (c *Chooser, stop func()) {
	c = w.chooser(pin)
	ctx, cancel := context.WithCancel(w.t.Context())
	var all sync.WaitGroup
	all.Go(func() { c.Run(ctx) })
	all.Go(func() {
		for ctx.Err() == nil {
			cut, err := w.connect(c.Choose(ctx))
			c.Tried(err)
			if err == nil {
				select {
				case <-cut:
					c.Tried(errDown)
				case <-w.wake:
				case <-ctx.Done():
				}
				continue
			}
			select {
			case <-time.After(time.Second):
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	})
	return c, func() {
		cancel()
		all.Wait()
		w.mu.Lock()
		w.at = ""
		w.mu.Unlock()
	}
}

// tried lists the brokers that were tried, and measured counts measurements, since forget.
func (w *world) tried() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.attempts)
}

func (w *world) measured(broker string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if broker != "" {
		return w.taken[broker]
	}
	return len(w.taken)
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = nil
	clear(w.taken)
}

// where is the site of the connection that stands after d.
func (w *world) where(d time.Duration) string {
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sites {
		if s.Broker == w.at {
			return s.Name
		}
	}
	return ""
}

func ms(list ...int) (out []time.Duration) {
	for _, n := range list {
		out = append(out, time.Duration(n)*time.Millisecond)
	}
	return out
}

func TestP10_NearestByTheMedianOfThreeTries(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		times [4][]time.Duration
		want  string
	}{
		{[4][]time.Duration{ms(400), ms(300), ms(200), ms(100)}, "california"},
		{[4][]time.Duration{ms(10, 900, 900), ms(300), ms(900, 200, 200), ms(250)}, "frankfurt"},
		{[4][]time.Duration{ms(50), ms(50), ms(50), ms(50)}, "singapore"},
		{[4][]time.Duration{nil, nil, ms(900), nil}, "frankfurt"},
		{[4][]time.Duration{ms(9000), ms(300, 9000, 400), nil, ms(401)}, "beijing"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			for k, s := range w.sites {
				w.set(s.Name, c.times[k]...)
			}
			chooser, stop := w.start("")
			defer stop()
			require.Equal(t, c.want, w.where(20*time.Second), i)
			st := chooser.Stats()
			require.Equal(t, c.want, st.Site)
			require.Empty(t, st.Home)
			require.Equal(t, 3, w.measured(c.want+":8883"))
		})
	}
}

func TestP10_NearestIsNotChangedForLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		at := func() string {
			_, stop := w.start("")
			defer stop()
			return w.where(20 * time.Second)
		}
		require.Equal(t, "california", at())
		w.set("frankfurt", ms(85)...)
		require.Equal(t, "california", at(), "hysteresis")
		w.set("frankfurt", ms(40)...)
		require.Equal(t, "frankfurt", at())
		w.set("california", ms(35)...)
		require.Equal(t, "frankfurt", at())
	})
}

func TestP10_BoundCameraStaysFallsOverAndReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, stop := w.start("")
		require.Equal(t, "california", w.where(20*time.Second))
		w.bind("b1")
		require.Equal(t, "california", w.where(time.Second))
		require.Equal(t, "california", c.Stats().Home)
		stop()
		w.set("singapore", ms(1)...)
		w.forget()
		c, stop = w.start("")
		defer stop()
		require.Equal(t, "california", w.where(time.Second), "home, however near another is")
		require.Zero(t, w.measured(""), "nothing is measured")

		w.where(5 * time.Minute)
		w.forget()
		w.refuse("california", true)
		w.where(1500 * time.Millisecond) // two attempts
		w.refuse("california", false)
		require.Equal(t, "california", w.where(time.Minute), "two failures are not three")
		require.Len(t, w.tried(), 3)

		w.where(5 * time.Minute)
		w.forget()
		w.set("california")
		require.Equal(t, "singapore", w.where(time.Minute), "the nearest of the others")
		require.Equal(t, []string{"california:8883", "california:8883", "california:8883", "singapore:8883"}, w.tried())
		require.Equal(t, "california", c.Stats().Home)
		require.Equal(t, "singapore", c.Stats().Site)

		w.where(time.Hour)
		w.set("california", ms(100)...)
		require.Equal(t, "singapore", w.where(9*time.Minute))
		w.set("california")
		w.where(time.Minute + 10*time.Second)
		w.set("california", ms(100)...)
		require.Equal(t, "singapore", w.where(10*time.Minute), "the ten minutes begin anew")
		require.Equal(t, "california", w.where(2*time.Minute))
		require.Len(t, w.tried(), 5)

		w.set("california")
		require.Equal(t, "singapore", w.where(time.Minute), "soon lost again")
		w.where(5 * time.Minute)
		w.forget()
		w.set("singapore")
		require.Equal(t, "frankfurt", w.where(2*time.Minute), "and the next one too")
		require.Equal(t, []string{"singapore:8883", "singapore:8883", "singapore:8883", "california:8883", "california:8883", "california:8883",
			"frankfurt:8883"}, w.tried(), "home first")
	})
}

// A home that answers, and takes nobody, is returned to less and less often.
func TestP10_HomeThatAnswersInVainIsHysteresis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bind("b1")
		_, stop := w.start("")
		defer stop()
		require.Equal(t, "california", w.where(time.Minute*5), "bound, and home is not known: the nearest")
		w.refuse("california", true)
		w.forget()
		w.where(24 * time.Hour)
		n := 0
		for _, a := range w.tried() {
			if a == "california:8883" {
				n++
			}
		}
		require.LessOrEqual(t, n, 3*(1+4+24*60/160))
		require.GreaterOrEqual(t, n, 3*6)
		w.refuse("california", false)
		require.Equal(t, "california", w.where(3*time.Hour))
		w.set("california")
		require.Equal(t, "frankfurt", w.where(time.Minute))
		w.set("california", ms(100)...)
		require.Equal(t, "california", w.where(12*time.Minute), "what was in vain is forgotten")
	})
}

// A site that takes cameras and soon lets them go does not serve.
func TestP10_ShortConnectionsAreFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bind("b1")
		_, stop := w.start("")
		defer stop()
		require.Equal(t, "california", w.where(5*time.Minute))
		for range 2 {
			w.drop()
			require.Equal(t, "california", w.where(2*time.Minute), "long ones are none")
		}
		for range 3 {
			w.drop()
			require.Equal(t, "california", w.where(30*time.Second))
		}
		w.drop()
		require.Equal(t, "frankfurt", w.where(30*time.Second))
	})
}

func TestP10_AllDownThenOneComesBack(t *testing.T) {
	t.Parallel()
	for _, back := range []string{"singapore", "beijing", "frankfurt", "california"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.bind("b1")
			_, stop := w.start("")
			defer stop()
			require.Equal(t, "california", w.where(20*time.Second))
			for _, s := range w.sites {
				w.set(s.Name)
			}
			w.forget()
			require.Empty(t, w.where(time.Hour))
			counts := map[string]int{}
			for _, a := range w.tried() {
				counts[a]++
			}
			require.Len(t, counts, 4, "each is tried")
			w.set(back, ms(100)...)
			require.Equal(t, back, w.where(5*time.Minute))
		})
	}
}

func TestP10_PinnedCameraWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, stop := w.start("beijing")
		require.Equal(t, "beijing", w.where(time.Second))
		w.bind("b1")
		w.set("beijing")
		require.Empty(t, w.where(time.Hour))
		require.True(t, c.Stats().Pinned)
		w.set("beijing", ms(500)...)
		require.Equal(t, "beijing", w.where(time.Minute))
		require.Zero(t, w.measured(""), "nothing is measured, and nobody else looked at")
		for _, a := range w.tried() {
			require.Equal(t, "beijing:8883", a)
		}
		stop()
		_, stop = w.start("")
		require.Equal(t, "beijing", w.where(time.Second), "it was bound there")
		stop()
		_, stop = w.start("frankfurt")
		require.Equal(t, "frankfurt", w.where(time.Hour), "away from home for good")
		require.Zero(t, w.measured(""))
		stop()
		_, stop = w.start("")
		require.Equal(t, "beijing", w.where(time.Second), "home is still home")
		stop()
	})
	_, err := New(Config{Sites: []Site{{"a", "a:1"}}, Pin: "b"})
	require.ErrorContains(t, err, `"b"`)
	_, err = New(Config{})
	require.Error(t, err)
}

func TestP10_HomeBelongsToOneBinding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c, stop := w.start("")
		require.Equal(t, "california", w.where(20*time.Second))
		w.bind("b1")
		w.where(time.Second)
		w.bind("")
		w.set("frankfurt", ms(5)...)
		require.Equal(t, "california", w.where(time.Minute), "no reason to cut a connection")
		require.Empty(t, c.Stats().Home)
		w.drop()
		require.Equal(t, "frankfurt", w.where(time.Minute), "at the next connection the nearest")
		w.bind("b2")
		w.where(time.Second)
		require.Equal(t, "frankfurt", c.Stats().Home)
		stop()

		w.bind("b3") // another binding, that this file does not know
		w.set("california", ms(1)...)
		_, stop = w.start("")
		require.Equal(t, "california", w.where(20*time.Second))
		stop()

		w.sites = w.sites[:3] // home is not configured any more
		c, stop = w.start("")
		require.Equal(t, "frankfurt", w.where(20*time.Second))
		require.Equal(t, "frankfurt", c.Stats().Home)
		stop()

		for _, text := range []string{"{", "[]", `{"v":2,"site":"beijing","bind_id":"b3"}`, `{"v":1,"site":"","bind_id":"b3"}`} {
			require.NoError(t, os.WriteFile(filepath.Join(w.dir, "site.json"), []byte(text), 0o600))
			_, stop = w.start("")
			require.Equal(t, "frankfurt", w.where(20*time.Second), text)
			stop()
		}
	})
}

// The binding ends between the look at the clock and the look at home.
func TestP10_R5_NobodyLooksAtAHomeThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.chooser("")
	c.settle()
	require.False(t, c.homeIsBack(t.Context()))
	require.Empty(t, w.taken)
}

// Power is cut after the binding and before the file says so.
func TestP10_HomeIsWhereTheCameraWasBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, stop := w.start("")
		require.Equal(t, "california", w.where(20*time.Second))
		stop()
		w.bind("b1")
		w.set("california", ms(900)...)
		c, stop := w.start("")
		defer stop()
		require.Equal(t, "california", w.where(20*time.Second))
		require.Equal(t, "california", c.Stats().Home)
	})
}

func TestP10_OneBrokerIsNotMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sites = []Site{{"", "frankfurt:8883"}}
		c, stop := w.start("")
		defer stop()
		w.bind("b1")
		w.set("frankfurt")
		w.where(time.Hour)
		require.Zero(t, w.measured(""))
		require.Equal(t, Stats{Times: map[string]time.Duration{}}, c.Stats())
		require.NoFileExists(t, filepath.Join(w.dir, "site.json"))
		require.NotEmpty(t, w.tried())
	})
}

func TestChooserEndsWhileItMeasures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, s := range w.sites {
			w.set(s.Name)
		}
		_, stop := w.start("")
		time.Sleep(time.Second)
		stop()
		require.NoFileExists(t, filepath.Join(w.dir, "site.json"), "what was not measured is not kept")
	})
}
