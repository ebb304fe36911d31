// Package conf is camcloud's configuration: one YAML file, the environment
// (CAMCLOUD_ and the key in capitals, dots as underscores) and flags named as
// the keys, each stronger than the one before. It is read once; everything that
// is wrong is told at once, with key, value and what is allowed.
package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"iid2secure.nl/camagent/cloud"
)

// EnvPrefix begins the names of the environment variables that are read.
const EnvPrefix = "CAMCLOUD"

// Config is what camcloud runs with.
type Config struct {
	Dir       string   // state; created
	Names     []string // host names and addresses of the server certificate
	Account   string   // made at the start if it is not there, for development
	Capture   string   // file that gets all MQTT bytes, for tests
	FactoryCA []string // PEM files with the roots of devices
	MQTT      Listen
	HTTPS     Listen
	TLS       TLS
	S3        S3
	Log       Log
}

// Listen is a listening address.
type Listen struct {
	Address string // host:port; port 0: any free one
	Public  string // host:port as others reach it; empty: from Address and Names
}

// TLS is a server certificate of one's own. Empty: camcloud makes one.
type TLS struct {
	Cert string // PEM file, leaf first
	Key  string // PEM file
	CA   string // PEM file with the roots that others should trust; empty: the system's
}

// S3 is the object storage.
type S3 struct {
	Endpoint  string // host:port
	Public    string // host:port as devices and apps reach it; empty: the same
	Region    string
	Bucket    string
	AccessKey string
	SecretKey cloud.Secret
	PathStyle bool
	CA        string // PEM file; empty: the system's roots
	Serve     Serve
}

// Serve is a local S3 server for development, instead of an endpoint.
type Serve struct {
	Binary  string // versitygw
	Dir     string // where the objects lie; empty: in the state folder
	Address string // host:port; port 0: any free one
}

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // json, console
}

// Problem is one thing wrong with a configuration.
type Problem struct{ Key, Have, Want string }

// Error lists all problems of a configuration, a line each.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = fmt.Sprintf("configuration: %s: is %s, want %s", p.Key, p.Have, p.Want)
	}
	return strings.Join(lines, "\n")
}

// key is one key of the configuration: exactly one of the pointers is set.
type key struct {
	name   string
	text   *string
	list   *[]string
	flag   *bool
	secret *cloud.Secret // never a flag: command lines are public. S8
	help   string
}

// keys are all keys, bound to c. What c holds is the default.
func keys(c *Config) []key {
	return []key{
		{name: "dir", text: &c.Dir, help: "state folder"},
		{name: "name", list: &c.Names, help: "host names and addresses of the server certificate"},
		{name: "account", text: &c.Account, help: "account to make at the start, for development; its token is written to info.json"},
		{name: "capture", text: &c.Capture, help: "file that gets all MQTT bytes, for tests"},
		{name: "factory_ca", list: &c.FactoryCA, help: "PEM files with the roots of devices"},
		{name: "mqtt.address", text: &c.MQTT.Address, help: "where the broker listens (port 0: any)"},
		{name: "mqtt.public", text: &c.MQTT.Public, help: "host:port at which others reach the broker"},
		{name: "https.address", text: &c.HTTPS.Address, help: "where the API listens (port 0: any)"},
		{name: "https.public", text: &c.HTTPS.Public, help: "host:port at which apps reach the API"},
		{name: "tls.cert", text: &c.TLS.Cert, help: "server certificate (PEM) of your own"},
		{name: "tls.key", text: &c.TLS.Key, help: "its key (PEM)"},
		{name: "tls.ca", text: &c.TLS.CA, help: "roots (PEM) by which others check it"},
		{name: "s3.endpoint", text: &c.S3.Endpoint, help: "host:port of the storage, https"},
		{name: "s3.public_endpoint", text: &c.S3.Public, help: "host:port at which devices and apps reach the storage"},
		{name: "s3.region", text: &c.S3.Region, help: "region of the bucket"},
		{name: "s3.bucket", text: &c.S3.Bucket, help: "bucket"},
		{name: "s3.access_key", text: &c.S3.AccessKey, help: "access key id"},
		{name: "s3.secret_key", secret: &c.S3.SecretKey, help: "secret key (or CAMCLOUD_S3_SECRET_KEY)"},
		{name: "s3.path_style", flag: &c.S3.PathStyle, help: "https://host/bucket instead of https://bucket.host"},
		{name: "s3.ca", text: &c.S3.CA, help: "roots (PEM) of the storage"},
		{name: "s3.serve.binary", text: &c.S3.Serve.Binary, help: "versitygw, to run a storage for development"},
		{name: "s3.serve.dir", text: &c.S3.Serve.Dir, help: "where that keeps its objects"},
		{name: "s3.serve.address", text: &c.S3.Serve.Address, help: "where that listens (port 0: any)"},
		{name: "log.level", text: &c.Log.Level, help: "debug, info, warn or error"},
		{name: "log.format", text: &c.Log.Format, help: "json or console"},
	}
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

// Flags adds a flag for every key but secrets.
func Flags(f *pflag.FlagSet) {
	c := Default()
	for _, k := range keys(&c) {
		switch {
		case k.text != nil:
			f.String(k.name, *k.text, k.help)
		case k.list != nil:
			f.StringSlice(k.name, *k.list, k.help)
		case k.flag != nil:
			f.Bool(k.name, *k.flag, k.help)
		}
	}
}

// Load reads file ("": none), the environment and those of flags that were set.
func Load(file string, flags *pflag.FlagSet) (Config, error) {
	v := viper.New()
	if file != "" {
		v.SetConfigFile(file)
		v.SetConfigType("yaml")
		if err := v.ReadInConfig(); errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("configuration file %s: does not exist", file)
		} else if err != nil {
			return Config{}, fmt.Errorf("configuration file %s: not readable as YAML: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	c := Default()
	all := keys(&c)
	problems := unknown(v.AllKeys(), all)
	for _, k := range all {
		if p, bad := k.take(v, flags); bad {
			problems = append(problems, p)
		}
	}
	problems = append(problems, c.check()...)
	if len(problems) > 0 {
		return Config{}, &Error{problems}
	}
	return c, nil
}

func unknown(have []string, all []key) (problems []Problem) {
	var names []string
	for _, k := range all {
		names = append(names, k.name)
	}
	slices.Sort(have)
	for _, k := range have {
		if !slices.Contains(names, k) {
			problems = append(problems, Problem{k, "unknown", "one of " + strings.Join(names, ", ")})
		}
	}
	return problems
}

// take fills a key from the strongest source that has it.
func (k key) take(v *viper.Viper, flags *pflag.FlagSet) (Problem, bool) {
	if flags != nil && k.secret == nil && flags.Changed(k.name) {
		f := flags.Lookup(k.name)
		if s, ok := f.Value.(pflag.SliceValue); ok {
			return k.set(s.GetSlice())
		}
		return k.set(f.Value.String())
	}
	if text, ok := os.LookupEnv(k.env()); ok {
		return k.set(text)
	}
	if !v.InConfig(k.name) && !v.IsSet(k.name) {
		return Problem{}, false
	}
	return k.set(v.Get(k.name))
}

func (k key) env() string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
}

// set stores a value of the right type; text stands for a list with commas, and
// for true and false.
func (k key) set(value any) (Problem, bool) {
	switch {
	case k.list != nil:
		return k.setList(value)
	case k.flag != nil:
		b, ok := value.(bool)
		if s, isText := value.(string); isText {
			b, ok = s == "true", s == "true" || s == "false"
		}
		*k.flag = b
		return Problem{k.name, fmt.Sprintf("%q", fmt.Sprint(value)), "true or false"}, !ok
	}
	s, ok := value.(string)
	if k.secret != nil {
		*k.secret = cloud.NewSecret(s)
		return Problem{k.name, "not text", "text"}, !ok
	}
	*k.text = s
	return Problem{k.name, fmt.Sprintf("%v", value), "text"}, !ok
}

func (k key) setList(value any) (Problem, bool) {
	var list []string
	switch x := value.(type) {
	case string:
		list = strings.Split(x, ",")
	case []string:
		list = x
	case []any:
		for _, e := range x {
			s, ok := e.(string)
			if !ok {
				return Problem{k.name, fmt.Sprintf("%v", value), "a list of texts"}, true
			}
			list = append(list, s)
		}
	default:
		return Problem{k.name, fmt.Sprintf("%v", value), "a list of texts"}, true
	}
	*k.list = list
	return Problem{}, false
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// check finds what is wrong with values that have the right type.
func (c Config) check() (problems []Problem) {
	must := func(ok bool, key, have, want string) {
		if !ok {
			problems = append(problems, Problem{key, fmt.Sprintf("%q", have), want})
		}
	}
	must(c.Dir != "", "dir", c.Dir, "a folder")
	must(len(c.Names) > 0 && !slices.Contains(c.Names, ""), "name", strings.Join(c.Names, ","), "at least one host name or address")
	must(len(c.FactoryCA) > 0 && !slices.Contains(c.FactoryCA, ""), "factory_ca", strings.Join(c.FactoryCA, ","), "at least one PEM file")
	must(address(c.MQTT.Address), "mqtt.address", c.MQTT.Address, "host:port")
	must(c.MQTT.Public == "" || address(c.MQTT.Public), "mqtt.public", c.MQTT.Public, "host:port or nothing")
	must(address(c.HTTPS.Address), "https.address", c.HTTPS.Address, "host:port")
	must(c.HTTPS.Public == "" || address(c.HTTPS.Public), "https.public", c.HTTPS.Public, "host:port or nothing")
	must((c.TLS.Cert == "") == (c.TLS.Key == ""), "tls.key", c.TLS.Key, "set if and only if tls.cert is")
	must(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", c.Log.Level, "debug, info, warn or error")
	must(slices.Contains([]string{"json", "console"}, c.Log.Format), "log.format", c.Log.Format, "json or console")
	must(bucketName.MatchString(c.S3.Bucket), "s3.bucket", c.S3.Bucket, "3 to 63 of a-z, 0-9, dot and dash")
	must(c.S3.Region != "", "s3.region", c.S3.Region, "a region, for example us-east-1")
	if c.S3.Serve.Binary != "" {
		must(c.S3.Endpoint == "", "s3.endpoint", c.S3.Endpoint, "nothing, because s3.serve.binary is set")
		must(address(c.S3.Serve.Address), "s3.serve.address", c.S3.Serve.Address, "host:port")
		return problems
	}
	must(address(c.S3.Endpoint), "s3.endpoint", c.S3.Endpoint, "host:port, or s3.serve.binary set")
	must(c.S3.Public == "" || address(c.S3.Public), "s3.public_endpoint", c.S3.Public, "host:port or nothing")
	must(c.S3.AccessKey != "", "s3.access_key", c.S3.AccessKey, "an access key id")
	if c.S3.SecretKey.IsZero() {
		problems = append(problems, Problem{"s3.secret_key", "empty", "the secret key, here or in CAMCLOUD_S3_SECRET_KEY"})
	}
	return problems
}

func address(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && port != ""
}
