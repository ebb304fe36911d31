package agent

import (
	"context"
	"crypto/tls"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/site"
)

// openSite prepares the choice among the cloud's sites; t is how a broker is met.
func (a *Agent) openSite(t *tls.Config) (err error) {
	cfg := site.Config{
		Pin: a.cfg.Cloud.Pinned(), Dir: a.cfg.StateDir, Binding: a.binding.Binding, Changed: a.binding.Changed,
		Move: func() { a.link.Move() }, Log: a.log.Named("site"),
	}
	for _, s := range a.cfg.Cloud.AllSites() {
		cfg.Sites = append(cfg.Sites, site.Site(s))
	}
	connect := site.Connect(t)
	cfg.Probe = func(ctx context.Context, broker string) (time.Duration, error) {
		took, err := connect(ctx, broker)
		a.clock.Heed(err, t.RootCAs)
		return took, err
	}
	a.site, err = site.New(cfg)
	return err
}

// siteStatus tells where the cloud is met; nil if there is nothing to choose.
func (a *Agent) siteStatus() *command.SiteStatus {
	if a.site == nil || len(a.cfg.Cloud.Sites) == 0 {
		return nil
	}
	st := a.site.Stats()
	out := &command.SiteStatus{Name: st.Site, Home: st.Home, Pinned: st.Pinned, Times: map[string]int64{}}
	for name, d := range st.Times {
		out.Times[name] = d.Milliseconds()
	}
	return out
}
