package agent

import (
	"context"
	"sync"

	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/local"
)

// openLocal prepares what members on the local network reach, and the sessions
// themselves if no broker has.
func (a *Agent) openLocal() error {
	if a.cfg.Local.Off() {
		return nil
	}
	if a.sessions == nil {
		a.sessions = a.newSessions()
	}
	a.local = local.NewServer(local.Config{Address: a.cfg.Local.Address, Proves: channel.IsSession, Gone: a.sessions.EndClient, Log: a.log.Named("local")})
	return nil
}

func (a *Agent) newSessions() *channel.Server {
	return channel.NewServer(channel.ServerConfig{
		Serial: a.id.Serial, Static: a.id.Noise, Binding: a.binding.Binding, Member: a.binding.Member,
		Uptime: a.uptime, Execute: a.executor.Execute, Send: a.sendToApp, Log: a.log.Named("sessions"),
	})
}

// sendToApp hands a message to the carrier of which the client is.
func (a *Agent) sendToApp(client string, msg []byte) {
	switch {
	case local.IsClient(client):
		if a.local != nil {
			a.local.Send(client, msg)
		}
	case a.link != nil:
		a.link.Send(client, msg)
	}
}

// serveLocal serves members on the local network while the camera is bound.
func (a *Agent) serveLocal(ctx context.Context) error {
	return a.camera.bound.serve(ctx, func(ctx context.Context) error {
		return a.camera.reopen(ctx, "local", a.serveLocalOnce)
	})
}

// serveLocalOnce serves until ctx or the epoch ends.
func (a *Agent) serveLocalOnce(ctx context.Context, up func()) error {
	changed := a.binding.Changed()
	epoch, bindID, _ := a.binding.Binding()
	inner, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	err := a.local.Run(inner, func() {
		up()
		beside.Go(func() { local.Answer(inner, local.Name(bindID), a.local.Addr(), a.log.Named("local")) })
		beside.Go(func() { a.untilEpoch(inner, epoch, changed, cancel) })
	})
	if inner.Err() != nil && ctx.Err() == nil {
		return nil // no trouble: the next epoch begins
	}
	return err
}

// untilEpoch calls end when the epoch is another one.
func (a *Agent) untilEpoch(ctx context.Context, epoch uint64, changed <-chan struct{}, end func()) {
	for {
		if now, _, _ := a.binding.Binding(); now != epoch {
			end()
			return
		}
		select {
		case <-changed:
			changed = a.binding.Changed()
		case <-ctx.Done():
			return
		}
	}
}

// localInbox is what members on the local network send; nil: there is nothing.
func (a *Agent) localInbox() <-chan local.Message {
	if a.local == nil {
		return nil
	}
	return a.local.Inbox()
}
