package verify_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newCamera(t testing.TB) *fakecloud.Camera {
	t.Helper()
	secret, _, err := seal.NewIdentity()
	require.NoError(t, err)
	cam, err := fakecloud.NewCamera(secret)
	require.NoError(t, err)
	return cam
}

func clip(t testing.TB, cam *fakecloud.Camera, edit func(*cloud.Manifest, *cloud.ClipDetails)) fakecloud.Clip {
	t.Helper()
	k, err := cam.Clip(start, "main", edit)
	require.NoError(t, err)
	return k
}

// refused checks that err is final and says text.
func refused(t *testing.T, err error, text string) {
	t.Helper()
	var e *verify.Error
	require.ErrorAs(t, err, &e)
	require.ErrorContains(t, err, text)
	require.NotContains(t, err.Error(), "\n")
}

func TestManifest_GenuineIsTaken(t *testing.T) {
	t.Parallel()
	cam := newCamera(t)
	for n := range uint64(3) {
		k := clip(t, cam, nil)
		c, err := cam.Pinned().Manifest(k.Name, k.Token+"\n")
		require.NoError(t, err)
		require.Equal(t, n+1, c.Sequence)
		require.Equal(t, seal.Hash(k.Token), c.Hash)

		var sealed, plain bytes.Buffer
		require.NoError(t, c.Sealed(&sealed, bytes.NewReader(k.Sealed)))
		d, err := c.Details(cam.Secret)
		require.NoError(t, err)
		require.Equal(t, 250, d.Frames)
		require.NoError(t, c.Decrypt(&plain, &sealed, cam.Secret, d))
		require.Equal(t, k.Plain, plain.Bytes())
	}
}

func TestS10_ManifestOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	for name, tt := range map[string]struct {
		edit func(*cloud.Manifest, *cloud.ClipDetails)
		want string
	}{
		"version":         {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.V = 2 }, "version 2"},
		"serial":          {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Serial = cloud.NewSerial() }, "of camera"},
		"epoch":           {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Epoch = 2 }, "another binding"},
		"bind id":         {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.BindID = "00" }, "another binding"},
		"name":            {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Name = "20260102T030405.000Z-zzzzzzzz" }, "another clip"},
		"stream":          {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Stream = "../up" }, "no stream"},
		"sequence":        {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Sequence = 0 }, "sequence"},
		"first with prev": {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Prev = long }, "sequence"},
		"later, no prev":  {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Sequence = 2 }, "sequence"},
		"hash":            {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.SHA256 = "A" + long[1:] }, "SHA-256"},
		"size":            {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Size = 0 }, "size"},
		"huge":            {func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Size = verify.MaxClip + 1 }, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cam := newCamera(t)
			k := clip(t, cam, tt.edit)
			_, err := cam.Pinned().Manifest(k.Name, k.Token)
			refused(t, err, tt.want)
			require.NotContains(t, err.Error(), cam.ID.Serial.Plain())
		})
	}
}

func TestS10_ManifestOfAnotherKeyOrKind(t *testing.T) {
	t.Parallel()
	cam, thief := newCamera(t), newCamera(t)
	k := clip(t, cam, nil)

	pinned := cam.Pinned()
	pinned.Signing = thief.Pinned().Signing
	_, err := pinned.Manifest(k.Name, k.Token)
	refused(t, err, "not by the expected key")

	token, err := seal.Sign(cloud.TypReceipt, cam.ID.Signing, k.Manifest)
	require.NoError(t, err)
	_, err = cam.Pinned().Manifest(k.Name, token)
	refused(t, err, "typ is not")

	_, err = cam.Pinned().Manifest("20260102T030405.000Z-zzzzzzzz", k.Token)
	refused(t, err, "another clip")
}

func TestSealed_OnlyTheVeryBytes(t *testing.T) {
	t.Parallel()
	cam := newCamera(t)
	k := clip(t, cam, nil)
	c, err := cam.Pinned().Manifest(k.Name, k.Token)
	require.NoError(t, err)
	flipped := bytes.Clone(k.Sealed)
	flipped[len(flipped)-1] ^= 1
	for _, tt := range []struct {
		bytes []byte
		want  string
	}{
		{flipped, "SHA-256"},
		{k.Sealed[:len(k.Sealed)-1], "the camera sealed"},
		{append(bytes.Clone(k.Sealed), 0), "larger than"},
		{nil, "0 bytes"},
	} {
		refused(t, c.Sealed(io.Discard, bytes.NewReader(tt.bytes)), tt.want)
	}
	lost := errors.New("connection lost")
	err = c.Sealed(io.Discard, io.MultiReader(bytes.NewReader(k.Sealed[:10]), errReader{lost}))
	require.Equal(t, lost, err, "a lost connection is no forged clip")
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A clip that a power cut ended lacks its last chunk; that is believed only if
// the camera signed it.
func TestDecrypt_CutOnlyIfSigned(t *testing.T) {
	t.Parallel()
	cam := newCamera(t)
	k := clip(t, cam, nil)
	c, err := cam.Pinned().Manifest(k.Name, k.Token)
	require.NoError(t, err)
	const last = 1000
	plain := bytes.Repeat([]byte("x"), 2*64<<10+last)
	whole, err := cam.Seal(plain)
	require.NoError(t, err)
	cut := whole[:len(whole)-last-16]

	var out bytes.Buffer
	require.NoError(t, c.Decrypt(&out, bytes.NewReader(cut), cam.Secret, cloud.ClipDetails{Cut: true}))
	require.Equal(t, 2*64<<10, out.Len())
	refused(t, c.Decrypt(io.Discard, bytes.NewReader(cut), cam.Secret, cloud.ClipDetails{}), "does not decrypt")
	refused(t, c.Decrypt(io.Discard, bytes.NewReader(append(cut[:len(cut)-1:len(cut)-1], cut[len(cut)-1]^1)), cam.Secret, cloud.ClipDetails{Cut: true}), "does not decrypt")

	full := errors.New("disk full")
	require.Equal(t, full, c.Decrypt(errWriter{full}, bytes.NewReader(whole), cam.Secret, cloud.ClipDetails{}))
}

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

func TestP6_SealedToOthers(t *testing.T) {
	t.Parallel()
	cam, stranger := newCamera(t), newCamera(t)
	k := clip(t, cam, nil)
	c, err := cam.Pinned().Manifest(k.Name, k.Token)
	require.NoError(t, err)
	_, err = c.Details(stranger.Secret)
	refused(t, err, "sealed to others")
	refused(t, c.Decrypt(io.Discard, bytes.NewReader(k.Sealed), stranger.Secret, cloud.ClipDetails{}), "sealed to others")
}

func FuzzS5_Manifest(f *testing.F) {
	cam := newCamera(f)
	k := clip(f, cam, nil)
	f.Add(k.Name, k.Token)
	f.Add(k.Name, "")
	f.Add("", "a.b.c")
	f.Add("20260102T030405.000Z-../../..", k.Token[:len(k.Token)-4])
	id, err := identity.NewSelfMade()
	require.NoError(f, err)
	token, err := seal.Sign(cloud.TypManifest, id.Signing, k.Manifest)
	require.NoError(f, err)
	f.Add(k.Name, token)
	pinned := cam.Pinned()
	f.Fuzz(func(t *testing.T, name, token string) {
		c, err := pinned.Manifest(name, token)
		if err == nil && (c.Name != name || !verify.Name(name) || strings.TrimSpace(token) != k.Token) {
			t.Errorf("%q was taken as the manifest of %q", token, name)
		}
	})
}
