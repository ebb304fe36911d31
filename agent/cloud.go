package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/channel"
	"iid2secure.nl/camagent/cloud/link"
	"iid2secure.nl/camagent/cloud/local"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/upload"
	"iid2secure.nl/camagent/config"
)

// openCloud prepares the link, if a broker is configured.
func (a *Agent) openCloud() (err error) {
	if a.cfg.Cloud.Off() {
		return nil
	}
	if a.roots, err = Roots(a.cfg.Cloud); err != nil {
		return err
	}
	t := a.clock.Secure(&tls.Config{Certificates: []tls.Certificate{a.id.TLS}, RootCAs: a.roots, MinVersion: tls.VersionTLS13})
	if err := a.openSite(t); err != nil {
		return err
	}
	a.link, err = link.NewDevice(link.DeviceConfig{
		Choose: a.site.Choose, TLS: t, Serial: a.id.Serial, Presence: a.presenceStatement,
		OnChange: a.linkChanged, Log: a.log.Named("link"),
	})
	if err != nil {
		return err
	}
	a.ask = a.link.Ask
	send := func(client string, msg []byte) { a.link.Send(client, msg) }
	a.pairing = bind.NewPairing(a.binding, bind.PairingConfig{Send: send, Window: a.cfg.Pairing.Window, Log: a.log.Named("pairing")})
	a.sessions = a.newSessions()
	a.uploader, err = upload.New(upload.Config{
		Spool: a.card, Ask: a.ask, Serial: a.id.Serial, Prefix: a.bindID,
		Hosts: a.cfg.Cloud.StorageHosts, AllowPrivate: a.cfg.Cloud.AllowPrivate, Roots: a.roots, Secure: a.clock.Secure,
		Bandwidth: int64(a.cfg.Cloud.BandwidthKB) * 1000, Log: a.log.Named("upload"),
	})
	return err
}

// Roots is the pool by which broker and storage are trusted: the configured
// roots alone, or the system's if there are none.
func Roots(cfg config.Cloud) (*x509.CertPool, error) {
	file := cfg.RootsFile
	if file == "" {
		return x509.SystemCertPool()
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cloud.roots_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cloud.roots_file: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// linkChanged is told of every connect (nil) and of the end of every connection.
func (a *Agent) linkChanged(err error) {
	a.health.report("broker", err)
	a.site.Tried(err)
	a.clock.Heed(err, a.roots)
	if err == nil {
		a.uploader.Kick() // what waited for grants need not wait longer
	}
}

// presenceStatement signs that the camera is there, and where its chains end; an
// unbound one says nothing.
func (a *Agent) presenceStatement(online bool) []byte {
	epoch, bindID, bound := a.binding.Binding()
	if !bound {
		return nil
	}
	heads := map[string]cloud.ChainHead{}
	for stream, h := range a.chains.heads(bindID) {
		heads[stream] = cloud.ChainHead(h)
	}
	token, err := seal.Sign(cloud.TypPresence, a.id.Signing, cloud.Presence{
		Statement: cloud.Statement{V: 1, Serial: a.id.Serial, Epoch: epoch, BindID: bindID},
		Online:    online, Sequence: a.presence.Add(1), Heads: heads,
	})
	if err != nil {
		a.log.Error("presence", zap.Error(err))
		return nil
	}
	return []byte(token)
}

// dispatch hands messages from apps to pairing and sessions, one at a time.
func (a *Agent) dispatch(ctx context.Context) error {
	var broker <-chan link.Message
	if a.link != nil {
		broker = a.link.Inbox()
	}
	for {
		select {
		case m := <-broker:
			switch {
			case local.IsClient(m.Client): // no broker speaks for those
			case channel.IsPairing(m.Payload):
				a.pairing.Receive(m.Client, m.Payload)
			default:
				a.sessions.Receive(m.Client, m.Payload)
			}
		case m := <-a.localInbox():
			a.sessions.Receive(m.Client, m.Payload)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// uploadStats tells the backlog, and raises what keeps it from being sent.
func (a *Agent) uploadStats() command.UploadStatus {
	card := a.card.Stats()
	out := command.UploadStatus{Pending: card.Pending, Bytes: card.PendingBytes}
	if a.uploader != nil {
		up := a.uploader.Stats()
		out.Done = up.Confirmed
		out.UploadProgress = uploadProgress(up)
		err := up.LastError
		a.clock.Heed(err, a.roots)
		if errors.Is(err, link.ErrOffline) {
			err = nil // the condition "broker" says that already
		}
		a.health.report("storage", err)
	}
	return out
}

func uploadProgress(up upload.Stats) command.UploadProgress {
	out := command.UploadProgress{Oldest: instant(up.Oldest), Retries: up.Retries, Refused: up.Refused, NextTry: instant(up.NextTry)}
	if up.LastError != nil {
		out.Error = cloud.OneLine(up.LastError.Error())
	}
	for _, s := range up.Sending {
		out.Sending = append(out.Sending, command.Sending{File: s.File, Lane: s.Lane.String(), Size: s.Size, Sent: s.Sent})
	}
	return out
}

// instant writes a time as status does; a zero one is empty.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
