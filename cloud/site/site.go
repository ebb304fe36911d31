// Package site says at which of several sites a camera meets its cloud (P10):
// before it is bound at the nearest, by the time that a connection takes;
// afterwards at the site of its binding, called home. It falls over to another one
// only after three attempts in a row have failed, and returns when home has been
// healthy for ten minutes. A pinned camera uses one site and waits for it.
//
// It opens no lasting connection and decides nothing else: package link asks it
// before each attempt, and tells it how that went.
package site

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud/durable"
)

// Site is one place, with its broker.
type Site struct {
	Name   string
	Broker string // host:port
}

// The rules.
const (
	maxFails   = 3                // attempts in a row before another site is tried
	stable     = time.Minute      // a connection that was shorter counts as a failed attempt
	homeLooks  = time.Minute      // how often home is looked at from another site
	homeHealth = 10 * time.Minute // how long all looks must have gone well
	maxFutile  = 4                // how often that doubles for a home that answers, but can't be used
)

// Config says what there is to choose from.
type Config struct {
	Sites []Site // at least one, names differ
	Pin   string // name of the only one to use; "": none
	Dir   string // the state folder
	// Binding and Changed are those of the binding: home belongs to one bind id.
	Binding func() (epoch uint64, bindID string, bound bool)
	Changed func() <-chan struct{}
	// Probe measures how long a connection to a broker takes; Connect makes one.
	Probe func(ctx context.Context, broker string) (time.Duration, error)
	// Move makes the link ask anew now. It must not block.
	Move func()
	Log  *zap.Logger
}

// Stats tells where the camera is.
type Stats struct {
	Site   string // "": the only one, or none is chosen yet
	Home   string // "" while nobody has bound the camera
	Pinned bool
	Times  map[string]time.Duration // as last measured; sites that did not answer are left out
}

// Chooser chooses. All methods may be called from any goroutine.
type Chooser struct {
	cfg  Config
	path string

	mu      sync.Mutex
	kept    kept
	now     int  // index of the site in use; -1: none yet
	home    int  // -1: none
	chosen  bool // now was chosen for the present binding
	fails   int  // attempts in a row
	futile  int  // returns in a row after which home could not be used
	back    bool // now is home since a return
	up      time.Time
	avoid   map[int]bool // failed since a connection was stable
	healthy time.Time    // since when home answers; zero: it does not, or nobody looked
	times   map[string]time.Duration
}

// kept is the file: home if it has a bind id, else the last choice.
type kept struct {
	V      int    `json:"v"` // 1
	Site   string `json:"site"`
	BindID string `json:"bind_id,omitempty"`
}

// New reads what is kept, and connects to nobody. What can't be read is as nothing.
func New(cfg Config) (*Chooser, error) {
	if len(cfg.Sites) == 0 {
		return nil, errors.New("site: there is none to choose from")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	c := &Chooser{cfg: cfg, path: filepath.Join(cfg.Dir, "site.json"), now: -1, home: -1, avoid: map[int]bool{}}
	if cfg.Pin != "" {
		if c.now = c.index(cfg.Pin); c.now < 0 {
			return nil, fmt.Errorf("site: there is none with the name %q", cfg.Pin)
		}
	}
	if c.only() {
		c.now = max(c.now, 0)
	}
	if _, err := durable.ReadJSON(c.path, &c.kept); err != nil || c.kept.V != 1 {
		c.kept = kept{}
	}
	return c, nil
}

func (c *Chooser) index(name string) int {
	return slices.IndexFunc(c.cfg.Sites, func(s Site) bool { return s.Name == name })
}

// only tells that there is nothing to choose.
func (c *Chooser) only() bool { return len(c.cfg.Sites) == 1 || c.cfg.Pin != "" }

// Choose tells which broker to try now. Measuring may take it some seconds.
func (c *Chooser) Choose(ctx context.Context) (broker string) {
	c.settle()
	c.mu.Lock()
	now, measure, failed := c.now, !c.chosen && !c.only(), c.fails >= maxFails && !c.only()
	c.mu.Unlock()
	switch {
	case failed:
		now = c.elsewhere(ctx)
	case measure:
		now = c.nearest(ctx)
	}
	return c.cfg.Sites[now].Broker
}

// settle follows the binding: a new one makes the present site home, its end
// forgets home.
func (c *Chooser) settle() {
	_, bindID, bound := c.cfg.Binding()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !bound && c.kept.BindID != "":
		c.home, c.chosen, c.fails = -1, false, 0
		c.keep(kept{V: 1})
	case !bound:
		c.home = -1
	case c.kept.BindID == bindID:
		c.home = c.index(c.kept.Site)
	default:
		if c.home = c.now; c.home < 0 && c.kept.BindID == "" {
			c.home = c.index(c.kept.Site)
		}
		if c.home >= 0 {
			c.keep(kept{V: 1, Site: c.cfg.Sites[c.home].Name, BindID: bindID})
		}
	}
	if bound && c.home >= 0 && !c.chosen {
		c.chosen = true
		if !c.only() {
			c.now = c.home
		}
	}
}

// keep writes the file. If that fails, the choice holds until the next start.
func (c *Chooser) keep(k kept) {
	if k == c.kept {
		return
	}
	c.kept = k
	if len(c.cfg.Sites) == 1 {
		return
	}
	if err := durable.WriteJSON(c.path, k); err != nil {
		c.cfg.Log.Warn("the site is not kept", zap.Error(err))
	}
}

// nearest chooses the site to begin with. For a bound camera it becomes home: its
// old one is not configured any more.
func (c *Chooser) nearest(ctx context.Context) int {
	order, times := c.measure(ctx)
	defer c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = order[0]
	if last := c.index(c.kept.Site); last >= 0 && c.kept.BindID == "" && nearEnough(times[last], times[c.now]) {
		c.now = last
	}
	if ctx.Err() != nil {
		return c.now
	}
	c.chosen = true
	c.keep(kept{V: 1, Site: c.cfg.Sites[c.now].Name})
	c.cfg.Log.Info("site chosen", zap.String("site", c.cfg.Sites[c.now].Name), zap.Duration("connect_time", times[c.now]))
	return c.now
}

// elsewhere chooses the next site: home if it has not just failed, else the nearest
// that has not. When all have, it begins anew.
func (c *Chooser) elsewhere(ctx context.Context) int {
	order, _ := c.measure(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return c.now
	}
	if c.back {
		c.futile = min(c.futile+1, maxFutile)
	}
	c.avoid[c.now] = true
	if len(c.avoid) == len(c.cfg.Sites) {
		clear(c.avoid)
	}
	if c.home >= 0 {
		order = append([]int{c.home}, order...)
	}
	from := c.now
	c.now = order[slices.IndexFunc(order, func(i int) bool { return !c.avoid[i] })]
	c.fails, c.back, c.healthy = 0, false, time.Time{}
	c.cfg.Log.Warn("site does not serve, another one is tried", zap.String("site", c.cfg.Sites[from].Name), zap.String("next", c.cfg.Sites[c.now].Name))
	return c.now
}

// Tried is told how attempts went, as link.DeviceConfig.OnChange is: nil says that
// a connection stands, an error that an attempt failed or a connection ended.
func (c *Chooser) Tried(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.up = time.Now()
		return
	}
	lasted := !c.up.IsZero() && time.Since(c.up) >= stable
	c.up = time.Time{}
	if !lasted {
		c.fails++
		return
	}
	c.fails = 0
	clear(c.avoid)
	if c.now == c.home {
		c.futile, c.back = 0, false
	}
}

// Run follows the binding, and looks at home from another site, until ctx ends.
func (c *Chooser) Run(ctx context.Context) error {
	t := time.NewTicker(homeLooks)
	defer t.Stop()
	for {
		changed := c.cfg.Changed()
		c.settle()
		select {
		case <-changed:
		case <-t.C:
			if c.away() && c.homeIsBack(ctx) {
				c.cfg.Move()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Chooser) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.only() && c.home >= 0 && c.chosen && c.now != c.home
}

// homeIsBack looks at home once, and returns there if it has been healthy for long
// enough.
func (c *Chooser) homeIsBack(ctx context.Context) bool {
	c.mu.Lock()
	home := c.home
	c.mu.Unlock()
	if home < 0 {
		return false // the binding has just ended
	}
	began := time.Now()
	_, err := c.probe(ctx, c.cfg.Sites[home])
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil || home != c.home:
		c.healthy = time.Time{}
	case c.healthy.IsZero():
		c.healthy = began
	case began.Sub(c.healthy) >= homeHealth<<c.futile && c.now != home:
		c.cfg.Log.Info("home is healthy again", zap.String("site", c.cfg.Sites[home].Name))
		c.now, c.fails, c.back, c.healthy, c.up = home, 0, true, time.Time{}, time.Time{}
		clear(c.avoid)
		return true
	}
	return false
}

// Stats tells where the camera is.
func (c *Chooser) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Stats{Pinned: c.cfg.Pin != "", Times: map[string]time.Duration{}}
	if c.now >= 0 {
		st.Site = c.cfg.Sites[c.now].Name
	}
	if c.home >= 0 {
		st.Home = c.cfg.Sites[c.home].Name
	}
	for name, d := range c.times {
		st.Times[name] = d
	}
	return st
}

// Connect makes a Probe that connects by TLS, as the link does, and hangs up.
func Connect(t *tls.Config) func(ctx context.Context, broker string) (time.Duration, error) {
	d := tls.Dialer{Config: t}
	return func(ctx context.Context, broker string) (time.Duration, error) {
		began := time.Now()
		conn, err := d.DialContext(ctx, "tcp", broker)
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		conn.Close()
		return took, nil
	}
}
