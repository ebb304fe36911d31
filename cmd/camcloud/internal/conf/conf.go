// Package conf is camcloud's configuration, read by package config: one YAML
// file, the environment (CAMCLOUD_S3_BUCKET is s3.bucket) and flags. The struct is the
// truth: keys, flags and their help follow it.
package conf

import (
	"regexp"
	"slices"

	"github.com/spf13/pflag"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/config"
)

// Config is what camcloud runs with.
type Config struct {
	Dir       string   `mapstructure:"dir" help:"state folder; created"`
	Names     []string `mapstructure:"name" help:"host names and addresses of the server certificate"`
	Account   string   `mapstructure:"account" help:"account to make at the start, for development; its token is written to info.json"`
	Capture   string   `mapstructure:"capture" help:"file that gets all MQTT bytes, for tests"`
	FactoryCA []string `mapstructure:"factory_ca" help:"PEM files with the roots of devices"`
	MQTT      Listen   `mapstructure:"mqtt"`
	HTTPS     Listen   `mapstructure:"https"`
	TLS       TLS      `mapstructure:"tls"`
	S3        S3       `mapstructure:"s3"`
	Log       Log      `mapstructure:"log"`
}

// Listen is a listening address.
type Listen struct {
	Address string `mapstructure:"address" help:"host:port to listen on (port 0: any)"`
	Public  string `mapstructure:"public" help:"host:port at which others reach it (default: made from address and name)"`
}

// TLS is a server certificate of one's own. Empty: camcloud makes one.
type TLS struct {
	Cert string `mapstructure:"cert" help:"server certificate of your own (PEM, leaf first)"`
	Key  string `mapstructure:"key" help:"its key (PEM)"`
	CA   string `mapstructure:"ca" help:"roots by which others check it (PEM; default: the system's)"`
}

// S3 is the object storage.
type S3 struct {
	Endpoint  string       `mapstructure:"endpoint" help:"host:port of the storage, https"`
	Public    string       `mapstructure:"public_endpoint" help:"host:port at which devices and apps reach the storage (default: the endpoint)"`
	Region    string       `mapstructure:"region" help:"region of the bucket"`
	Bucket    string       `mapstructure:"bucket" help:"bucket"`
	AccessKey string       `mapstructure:"access_key" help:"access key id; its secret comes from the file or CAMCLOUD_S3_SECRET_KEY"`
	SecretKey cloud.Secret `mapstructure:"secret_key"`
	PathStyle bool         `mapstructure:"path_style" help:"https://host/bucket instead of https://bucket.host"`
	CA        string       `mapstructure:"ca" help:"roots of the storage (PEM; default: the system's)"`
	Serve     Serve        `mapstructure:"serve"`
}

// Serve is a local S3 server for development, instead of an endpoint.
type Serve struct {
	Binary  string `mapstructure:"binary" help:"versitygw, to run a storage for development"`
	Dir     string `mapstructure:"dir" help:"where that keeps its objects (default: in the state folder)"`
	Address string `mapstructure:"address" help:"where that listens (port 0: any)"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `mapstructure:"level" help:"debug, info, warn or error"`
	Format string `mapstructure:"format" help:"json or console"`
}

// Default is the configuration before anything is read.
func Default() Config {
	return Config{
		Dir:   "camcloud",
		Names: []string{"localhost", "127.0.0.1", "::1"},
		MQTT:  Listen{Address: "127.0.0.1:8883"},
		HTTPS: Listen{Address: "127.0.0.1:8443"},
		S3:    S3{Region: "us-east-1", Bucket: "camagent", PathStyle: true, Serve: Serve{Address: "127.0.0.1:0"}},
		Log:   Log{Level: "info", Format: "json"},
	}
}

// Flags adds a flag for every key but the secret.
func Flags(f *pflag.FlagSet) {
	c := Default()
	config.AddFlags(f, &c)
}

// Load reads file ("": none), the environment and those of flags that were set.
func Load(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	c := Default()
	err := config.Read(&c, config.Source{File: file, Prefix: "CAMCLOUD", Environ: environ, Flags: flags}, (*Config).check)
	return c, err
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (c *Config) check(k *config.Checks) {
	k.Want(c.Dir != "", "dir", c.Dir, "a folder")
	k.Want(len(c.Names) > 0 && !slices.Contains(c.Names, ""), "name", c.Names, "at least one host name or address")
	k.Want(len(c.FactoryCA) > 0 && !slices.Contains(c.FactoryCA, ""), "factory_ca", c.FactoryCA, "at least one PEM file")
	c.MQTT.check(k, "mqtt")
	c.HTTPS.check(k, "https")
	k.Want((c.TLS.Cert == "") == (c.TLS.Key == ""), "tls.key", c.TLS.Key, "set if and only if tls.cert is")
	c.S3.check(k)
	k.OneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.OneOf("log.format", c.Log.Format, "json", "console")
}

func (l Listen) check(k *config.Checks, section string) {
	k.Address(section+".address", l.Address)
	if l.Public != "" {
		k.Address(section+".public", l.Public)
	}
}

func (s S3) check(k *config.Checks) {
	k.Want(bucketName.MatchString(s.Bucket), "s3.bucket", s.Bucket, "3 to 63 of a-z, 0-9, dot and dash")
	k.Want(s.Region != "", "s3.region", s.Region, "a region, for example us-east-1")
	if s.Serve.Binary != "" {
		k.Want(s.Endpoint == "", "s3.endpoint", s.Endpoint, "nothing, because s3.serve.binary is set")
		k.Address("s3.serve.address", s.Serve.Address)
		return
	}
	k.Want(s.Endpoint != "", "s3.endpoint", s.Endpoint, "host:port, or s3.serve.binary set")
	k.Address("s3.endpoint", s.Endpoint)
	if s.Public != "" {
		k.Address("s3.public_endpoint", s.Public)
	}
	k.Want(s.AccessKey != "", "s3.access_key", s.AccessKey, "an access key id")
	k.Want(!s.SecretKey.IsZero(), "s3.secret_key", "", "the secret key, here or in CAMCLOUD_S3_SECRET_KEY")
}
