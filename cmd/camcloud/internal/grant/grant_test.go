package grant

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
)

func TestS11_NamesOfObjects(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "20260102T030405.123Z-abcdefgh.mp4.age", "main/x.jws", "a/b/c/d", "_x", strings.Repeat("a", api.MaxName)} {
		require.True(t, ValidName(good), good)
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", "..", "a/..", "a/../b", ".", "./a", ".hidden", "a b", "a\x00", "a\n", "ä", "a?b", "a#b", "a%b", "a\\b", "a/b/c/d/e", strings.Repeat("a", api.MaxName+1)} {
		require.False(t, ValidName(bad), bad)
	}
}

func TestPublicEndpointAndHostStyle(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Endpoint: "inside:9000", Public: "s3.example", Region: "r", Bucket: "bucket", AccessKey: "a", SecretKey: cloud.NewSecret("hush")})
	require.NoError(t, err)
	d, err := s.Get(t.Context(), "S/b/a.age")
	require.NoError(t, err)
	u, err := url.Parse(d.URL)
	require.NoError(t, err)
	require.Equal(t, "https", u.Scheme)
	require.Equal(t, "bucket.s3.example", u.Host)
	require.Equal(t, "/S/b/a.age", u.Path)
	require.NotContains(t, d.URL, "hush")
	_, err = New(Options{Endpoint: "http://x", Region: "r", AccessKey: "a", SecretKey: cloud.NewSecret("s")})
	require.Error(t, err)
}

func FuzzValidName(f *testing.F) {
	for _, s := range []string{"a.age", "../a", "a/b", "a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !ValidName(name) {
			return
		}
		if key := "S/b/" + name; path.Clean(key) != key || (&url.URL{Path: key}).EscapedPath() != key {
			t.Fatalf("%q is not one plain key", key)
		}
	})
}
