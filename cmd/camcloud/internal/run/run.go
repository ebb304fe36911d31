// Package run puts camcloud together: it opens the state folder, makes what is
// missing, and runs broker, API and (for development) the storage until it is
// told to end. One process at a time owns a state folder.
package run

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cmd/camcloud/internal/ask"
	"iid2secure.nl/camagent/cmd/camcloud/internal/broker"
	"iid2secure.nl/camagent/cmd/camcloud/internal/conf"
	"iid2secure.nl/camagent/cmd/camcloud/internal/grant"
	"iid2secure.nl/camagent/cmd/camcloud/internal/pki"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
	"iid2secure.nl/camagent/cmd/camcloud/internal/web"
)

// InfoFile is written into the state folder once everything is ready, mode 0600.
const InfoFile = "info.json"

// Info says where everything is, for scripts. Token is there only with
// conf.Config.Account.
type Info struct {
	Broker  string `json:"broker"`  // host:port
	API     string `json:"api"`     // https://host:port
	Storage string `json:"storage"` // host:port
	CA      string `json:"ca"`      // PEM file; empty: the system's roots
	Account string `json:"account,omitempty"`
	Token   string `json:"token,omitempty"`
}

// cloudlet is camcloud while it is put together.
type cloudlet struct {
	cfg     conf.Config
	log     *zap.Logger
	cert    tls.Certificate
	caFile  string // by which others check us; empty: the system's
	apps    *pki.Authority
	devices *x509.CertPool
	store   *store.Store
	storage *grant.Storage
	local   *localStorage
	info    Info
}

// Run runs camcloud until ctx ends, and tells out where everything is once it
// is ready.
func Run(ctx context.Context, cfg conf.Config, log *zap.Logger, out io.Writer) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	c := &cloudlet{cfg: cfg, log: log}
	if err := errors.Join(c.identify(), c.openStore()); err != nil {
		return err
	}
	if err := c.openStorage(ctx); err != nil {
		return err
	}
	if c.local != nil {
		defer c.local.close()
	}
	return c.serve(ctx, out)
}

// lock makes sure of being the only process in a state folder.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("state folder %s: another camcloud runs in it", filepath.Dir(path))
	}
	return func() { f.Close() }, nil
}

// identify opens or makes all certificates.
func (c *cloudlet) identify() (err error) {
	if c.devices, err = pki.ReadPool(c.cfg.FactoryCA); err != nil {
		return fmt.Errorf("factory_ca: %w", err)
	}
	if c.apps, err = pki.OpenAuthority(c.path("app-ca"), "camcloud apps"); err != nil {
		return err
	}
	if c.cfg.TLS.Cert != "" {
		c.caFile = c.cfg.TLS.CA
		c.cert, err = tls.LoadX509KeyPair(c.cfg.TLS.Cert, c.cfg.TLS.Key)
		if err != nil {
			return fmt.Errorf("tls.cert and tls.key: %w", err)
		}
		return nil
	}
	ca, err := pki.OpenAuthority(c.path("ca"), "camcloud")
	if err != nil {
		return err
	}
	c.caFile = c.path("ca") + ".pem"
	c.cfg.TLS.Cert, c.cfg.TLS.Key = c.path("server")+".pem", c.path("server")+".key"
	c.cert, err = ca.Server(c.path("server"), c.cfg.Names)
	return err
}

func (c *cloudlet) path(name string) string { return filepath.Join(c.cfg.Dir, name) }

func (c *cloudlet) openStore() (err error) {
	c.store, err = store.Open(c.cfg.Dir)
	if err != nil || c.cfg.Account == "" {
		return err
	}
	return c.openAccount()
}

// openAccount makes the development account, or finds it where the former start
// has left it.
func (c *cloudlet) openAccount() error {
	var kept struct{ Account, Token string }
	file := c.path("development-account.json")
	if _, err := durable.ReadJSON(file, &kept); err != nil {
		return err
	}
	name, err := c.store.Accounts.Authenticate(cloud.NewSecret(kept.Token))
	if err != nil || name != c.cfg.Account {
		token, err := c.store.Accounts.Add(c.cfg.Account)
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("%w, and its token is not in %s: leave out --account, or remove it with `camcloud account remove`", err, file)
		}
		if err != nil {
			return err
		}
		kept.Account, kept.Token = c.cfg.Account, token.Reveal() // scripts need it, which is what the account is for
		if err := durable.WriteJSON(file, kept); err != nil {
			return err
		}
	}
	c.info.Account, c.info.Token = kept.Account, kept.Token
	return nil
}

// openStorage connects to the bucket, and first runs a storage if one is wanted.
func (c *cloudlet) openStorage(ctx context.Context) (err error) {
	o := grant.Options{
		Endpoint: c.cfg.S3.Endpoint, Public: c.cfg.S3.Public, Region: c.cfg.S3.Region, Bucket: c.cfg.S3.Bucket,
		AccessKey: c.cfg.S3.AccessKey, SecretKey: c.cfg.S3.SecretKey, PathStyle: c.cfg.S3.PathStyle,
	}
	ca := c.cfg.S3.CA
	if c.cfg.S3.Serve.Binary != "" {
		if c.local, err = openLocal(ctx, c.cfg, c.log); err != nil {
			return err
		}
		o.Endpoint, o.AccessKey, o.SecretKey, o.PathStyle = c.local.addr, c.local.access, c.local.secret, true
		ca = c.caFile
	}
	if ca != "" {
		if o.Roots, err = pki.ReadPool([]string{ca}); err != nil {
			return fmt.Errorf("s3.ca: %w", err)
		}
	}
	if c.storage, err = grant.New(o); err != nil {
		return err
	}
	if err := c.storage.Prepare(ctx); err != nil {
		if c.local == nil {
			c.log.Warn("the storage can't be reached; grants are given all the same", zap.Error(err))
			return nil
		}
		c.local.close()
		return err
	}
	return nil
}

// serve runs everything until ctx ends or a part fails.
func (c *cloudlet) serve(ctx context.Context, out io.Writer) error {
	mqtt, err := net.Listen("tcp", c.cfg.MQTT.Address)
	if err != nil {
		return fmt.Errorf("mqtt.address: %w", err)
	}
	defer mqtt.Close()
	https, err := net.Listen("tcp", c.cfg.HTTPS.Address)
	if err != nil {
		return fmt.Errorf("https.address: %w", err)
	}
	defer https.Close()
	c.info.Broker = c.public(mqtt, c.cfg.MQTT.Public)
	c.info.API = "https://" + c.public(https, c.cfg.HTTPS.Public)
	c.info.Storage, c.info.CA = c.storage.Public(), c.caFile
	b, closeCapture, err := c.broker(mqtt)
	if err != nil {
		return err
	}
	defer closeCapture()
	w, err := c.web(https, b)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error { return w.Run(ctx) })
	if c.local != nil {
		group.Go(func() error { return c.local.run(ctx) })
	}
	group.Go(func() error { return c.announce(ctx, b, out) })
	return group.Wait()
}

// public is where others reach a listener: an address that the certificate
// names, or its first name.
func (c *cloudlet) public(l net.Listener, given string) string {
	if given != "" {
		return given
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil || !slices.Contains(c.cfg.Names, host) {
		host = c.cfg.Names[0]
	}
	return net.JoinHostPort(host, port)
}

func (c *cloudlet) broker(l net.Listener) (*broker.Broker, func(), error) {
	o := broker.Options{
		Listener: l, Certificate: c.cert, Devices: c.devices, Apps: c.apps.Certificate(),
		Store: c.store, Dir: c.path("broker"), Log: c.log,
		Device: func(cert *x509.Certificate) (cloud.Serial, error) {
			d, err := identity.DeviceFromCert(cert)
			return d.Serial, err
		},
	}
	done := func() {}
	if c.cfg.Capture != "" {
		f, err := os.OpenFile(c.cfg.Capture, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("capture: %w", err)
		}
		o.Capture, done = f, func() { f.Close() }
	}
	desk := &ask.Desk{
		Store: c.store, Storage: c.storage, Log: c.log,
		Verify: func(receipt, chain string) (cloud.Receipt, identity.Device, error) {
			return bind.VerifyReceipt(receipt, chain, c.devices)
		},
	}
	o.Ask = desk.Answer
	b := broker.New(o)
	desk.Lost = b.Drop
	return b, done, nil
}

func (c *cloudlet) web(l net.Listener, b *broker.Broker) (*web.Server, error) {
	site := api.Site{Broker: c.info.Broker, Storage: c.info.Storage}
	for _, f := range []string{c.caFile, c.cfg.S3.CA} {
		if f == "" {
			continue
		}
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		site.CA += string(pem)
	}
	return &web.Server{
		Listener: l, Certificate: c.cert, Store: c.store, Storage: c.storage,
		Apps: c.apps, Online: b.Online, Site: site, Log: c.log,
	}, nil
}

// announce writes info.json and tells out once connections are served.
func (c *cloudlet) announce(ctx context.Context, b *broker.Broker, out io.Writer) error {
	select {
	case <-ctx.Done():
		return nil
	case <-b.Ready():
	}
	if err := durable.WriteJSON(c.path(InfoFile), c.info); err != nil {
		return err
	}
	c.log.Info("ready", zap.String("broker", c.info.Broker), zap.String("api", c.info.API), zap.String("storage", c.info.Storage))
	_, err := fmt.Fprintf(out, "broker   %s\napi      %s\nstorage  https://%s\nca       %s\n", c.info.Broker, c.info.API, c.info.Storage, c.info.CA)
	return err
}
