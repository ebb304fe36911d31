package conf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "camcloud.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	Flags(f)
	require.NoError(t, f.Parse(args))
	return f
}

const good = `
factory_ca: [a.pem, b.pem]
mqtt: {address: "0.0.0.0:8883", public: "cloud.example:8883"}
s3: {endpoint: "s3.example:443", access_key: key, secret_key: hush, path_style: false}
`

func TestFileAndFlags(t *testing.T) {
	t.Parallel()
	c, err := Load(file(t, good), flags(t, "--mqtt.public", "other.example:1", "--name", "x,y", "--s3.path_style"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"a.pem", "b.pem"}, c.FactoryCA)
	require.Equal(t, "0.0.0.0:8883", c.MQTT.Address)
	require.Equal(t, "other.example:1", c.MQTT.Public, "a flag is stronger than the file")
	require.Equal(t, []string{"x", "y"}, c.Names)
	require.True(t, c.S3.PathStyle)
	require.Equal(t, "hush", c.S3.SecretKey.Reveal())
	require.Equal(t, Default().HTTPS, c.HTTPS)
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	c, err := Load(file(t, good), flags(t), []string{"CAMCLOUD_S3_SECRET_KEY=from outside", "CAMCLOUD_S3_BUCKET=other"})
	require.NoError(t, err)
	require.Equal(t, "from outside", c.S3.SecretKey.Reveal())
	require.Equal(t, "other", c.S3.Bucket)
}

func TestS8_SecretsAreNoFlags(t *testing.T) {
	t.Parallel()
	require.Nil(t, flags(t).Lookup("s3.secret_key"))
}

func TestR9_EveryProblemIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Load(file(t, `
dri: /x
factory_ca: 7
mqtt: {address: 1883}
https: {address: nowhere}
tls: {cert: a.pem}
log: {level: loud, format: xml}
s3: {bucket: "A", endpoint: x, region: "", path_style: maybe, public_endpoint: y, secret: hush, secret_key: [hush]}
name: []
`), flags(t), nil)
	require.Error(t, err)
	for _, want := range []string{
		"dri: is unknown", "s3.secret: is unknown", `factory_ca: is "7", want a list`, `mqtt.address: is "1883", want a text`, `https.address: is "nowhere"`,
		"tls.key", `log.level: is "loud", want one of debug, info, warn, error`, "log.format", "s3.bucket", "s3.endpoint", "s3.region",
		`s3.path_style: is "maybe", want true or false`, "s3.public_endpoint", "s3.access_key", "s3.secret_key", "name:",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "hush")
}

func TestServeInsteadOfEndpoint(t *testing.T) {
	t.Parallel()
	c, err := Load("", flags(t, "--factory_ca", "a.pem", "--s3.serve.binary", "versitygw"), nil)
	require.NoError(t, err)
	require.Equal(t, "versitygw", c.S3.Serve.Binary)
	_, err = Load("", flags(t, "--factory_ca", "a.pem", "--s3.serve.binary", "versitygw", "--s3.endpoint", "x:1"), nil)
	require.ErrorContains(t, err, "s3.endpoint")
}

func TestFilesThatCantBeRead(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil)
	require.ErrorContains(t, err, "does not exist")
	_, err = Load(file(t, "a: [b"), nil, nil)
	require.ErrorContains(t, err, "not readable as YAML")
}

func FuzzFile(f *testing.F) {
	f.Add(good)
	f.Add("a: &a [*a]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "camcloud.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Load(path, nil, nil)
	})
}
