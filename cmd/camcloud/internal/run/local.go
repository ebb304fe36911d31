package run

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cmd/camcloud/internal/conf"
	"iid2secure.nl/camagent/scripts/s3dev"
)

// localStorage is the S3 server that runs beside camcloud in development.
type localStorage struct {
	opt    s3dev.Options
	server *s3dev.Server
	addr   string
	access string
	secret cloud.Secret
	log    *zap.Logger
}

// restartPause is how long a storage that ended stays away.
const restartPause = time.Second

// openLocal starts the server, with keys that are made once and kept.
func openLocal(ctx context.Context, cfg conf.Config, log *zap.Logger) (*localStorage, error) {
	var keys struct{ Access, Secret string }
	file := filepath.Join(cfg.Dir, "storage-keys.json")
	found, err := durable.ReadJSON(file, &keys)
	if err == nil && !found {
		keys.Access, keys.Secret = cloud.Token(10), cloud.Token(20)
		err = durable.WriteJSON(file, keys)
	}
	if err != nil {
		return nil, err
	}
	dir := cfg.S3.Serve.Dir
	if dir == "" {
		dir = filepath.Join(cfg.Dir, "storage")
	}
	l := &localStorage{access: keys.Access, secret: cloud.NewSecret(keys.Secret), log: log}
	l.opt = s3dev.Options{
		Dir: dir, Binary: cfg.S3.Serve.Binary, CertFile: cfg.TLS.Cert, KeyFile: cfg.TLS.Key,
		Access: keys.Access, Secret: keys.Secret, Region: cfg.S3.Region, Addr: cfg.S3.Serve.Address, LogFile: filepath.Join(cfg.Dir, "storage.log"),
	}
	if _, port, err := net.SplitHostPort(l.opt.Addr); err == nil && port == "0" {
		l.opt.Addr = "" // any free one
	}
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	l.addr = l.server.Addr
	l.opt.Addr = l.addr // again there after a restart
	return l, nil
}

func (l *localStorage) start(ctx context.Context) (err error) {
	// The storage outlives ctx: requests under way at the end still reach it.
	l.server, err = s3dev.Start(context.WithoutCancel(ctx), l.opt)
	if err != nil {
		return fmt.Errorf("storage for development: %w", err)
	}
	return nil
}

// run starts the server again whenever it ends by itself, until ctx ends.
func (l *localStorage) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.server.Done():
		}
		l.log.Warn("storage for development ended, starting it again")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restartPause):
		}
		if err := l.start(ctx); err != nil {
			return err
		}
	}
}

func (l *localStorage) close() {
	if err := l.server.Close(); err != nil {
		l.log.Debug("storage for development", zap.Error(err))
	}
}
