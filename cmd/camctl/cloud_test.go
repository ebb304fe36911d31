package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/local"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/home"
)

const testToken = "token-of-the-test"

// owner is a configuration folder, a cloud over HTTPS, and a paired camera.
type ownerBench struct {
	t      *testing.T
	dir    string
	url    string
	server *fakecloud.Server
	cam    *fakecloud.Camera
	enrols atomic.Int32
	// find looks for the camera on the local network; nowhere, by default.
	find func(ctx context.Context, bindID string) ([]string, error)
}

func newOwner(t *testing.T) *ownerBench {
	t.Helper()
	o := &ownerBench{t: t, dir: t.TempDir(), find: func(context.Context, string) ([]string, error) { return nil, local.ErrNotFound }}
	o.server = &fakecloud.Server{Cloud: fakecloud.New(), Token: testToken, Site: api.Site{Broker: "127.0.0.1:1"},
		Expiry: 90 * 24 * time.Hour, Enrols: func() { o.enrols.Add(1) }}
	s := httptest.NewUnstartedServer(o.server)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	o.url = s.URL
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(o.path("roots.pem"), roots, 0o600))
	require.NoError(t, os.WriteFile(o.path("token"), []byte(testToken+"\n"), 0o600))
	return o
}

func (o *ownerBench) path(name string) string { return filepath.Join(o.dir, name) }
func (o *ownerBench) config() string          { return o.path("config") }

// run is one camctl; it checks that the token is told to nobody.
func (o *ownerBench) run(args ...string) (code int, out, errs string) {
	o.t.Helper()
	var outB, errB bytes.Buffer
	c := &ctl{in: strings.NewReader(""), out: &outB, err: &errB, find: o.find}
	code = c.main(o.t.Context(), append(args, "--config", o.config()))
	require.NotContains(o.t, outB.String()+errB.String(), testToken)
	return code, outB.String(), errB.String()
}

func (o *ownerBench) ok(args ...string) string {
	o.t.Helper()
	code, out, errs := o.run(args...)
	require.Zero(o.t, code, errs)
	return out
}

// fails wants exit code 1 and one line that holds text.
func (o *ownerBench) fails(text string, args ...string) {
	o.t.Helper()
	code, _, errs := o.run(args...)
	require.Equal(o.t, 1, code, errs)
	require.Contains(o.t, errs, text)
	require.Equal(o.t, 1, strings.Count(errs, "\n"), errs)
	require.True(o.t, strings.HasPrefix(errs, "camctl: "), errs)
}

func (o *ownerBench) signIn() string {
	o.t.Helper()
	return o.ok("sign-in", o.url, "--roots", o.path("roots.pem"), "--token-file", o.path("token"))
}

// own makes an owner with one paired camera that has n clips in the cloud.
func (o *ownerBench) own(n int) (clips []fakecloud.Clip) {
	o.t.Helper()
	o.signIn()
	o.ok("identity")
	h := home.New(o.config())
	owner, err := h.Owner()
	require.NoError(o.t, err)
	o.cam, err = fakecloud.NewCamera(owner.Age)
	require.NoError(o.t, err)
	key, _ := o.cam.ID.Signing.Public().(ed25519.PublicKey)
	require.NoError(o.t, h.SaveCamera(home.Camera{Name: "door", Camera: bind.Camera{Serial: o.cam.ID.Serial, Epoch: o.cam.Epoch,
		BindID: o.cam.BindID, NoisePublic: o.cam.ID.Noise.Public, Signing: key}}))
	for i := range n {
		k, err := o.cam.Clip(time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), "main", nil)
		require.NoError(o.t, err)
		o.server.Cloud.Upload(k)
		clips = append(clips, k)
	}
	return clips
}

func TestSignIn_IsIdempotent(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	require.Contains(t, o.signIn(), "signed in to "+o.url+", broker 127.0.0.1:1")
	first, err := home.New(o.config()).Account()
	require.NoError(t, err)
	require.Equal(t, "app-1", first.ClientID)

	o.server.Site.Broker = "127.0.0.1:2"
	o.signIn()
	o.ok("sign-in", o.url+"/") // roots and token are known
	second, err := home.New(o.config()).Account()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:2", second.Broker)
	require.Equal(t, first.Key, second.Key)
	require.EqualValues(t, 1, o.enrols.Load())
}

func TestSignIn_Refused(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.fails("give its certificate with --roots FILE", "sign-in", o.url, "--token-file", o.path("token"))
	o.server.Token = "another"
	o.fails("the account token is not valid: is the token right, and the account still valid?",
		"sign-in", o.url, "--roots", o.path("roots.pem"), "--token-file", o.path("token"))
	require.NoFileExists(t, filepath.Join(o.config(), "account.json"))
}

func TestAccount_CertificateIsRenewedInTime(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.server.Expiry = time.Hour
	o.own(0)
	require.EqualValues(t, 1, o.enrols.Load())
	o.server.Expiry = 90 * 24 * time.Hour
	o.ok("clips")
	require.EqualValues(t, 2, o.enrols.Load())
	o.ok("clips")
	require.EqualValues(t, 2, o.enrols.Load())
}

func TestAccount_Ended(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.server.Expiry = -time.Hour
	o.own(0)
	o.server.Token = "another"
	o.fails("your broker certificate ended on ", "status")
}

func TestBrokerThatIsNotThere(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.own(0)
	o.fails("broker 127.0.0.1:1: ", "status", "--timeout", "5s")
}

func TestClips_ListedByCloud(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(5)
	out := o.ok("clips")
	require.Equal(t, 5, strings.Count(out, "\n"))
	require.Contains(t, out, clips[4].Name+"  2026-01-02T03:04:04.000Z")
	var list []struct {
		Name     string
		Size     int64
		Complete bool
	}
	require.NoError(t, json.Unmarshal([]byte(o.ok("clips", "--json", "--prefix", "20260102T030403")), &list))
	require.Len(t, list, 1)
	require.Equal(t, clips[3].Name, list[0].Name)
	require.True(t, list[0].Complete)
	require.Equal(t, "[]\n", o.ok("clips", "--json", "--prefix", "1999"))
}

func TestM3_GetFileOutputAndSealed(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	k := o.own(2)[1]
	file := o.path("a.mp4")
	require.Contains(t, o.ok("get", k.Name, "-o", file), "main 2, 2026-01-02T03:04:01Z, 10.0 s, 250 frames, verified")
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, k.Plain, got)
	require.NoFileExists(t, file+".age")
	require.Equal(t, string(k.Plain), o.ok("get", k.Name+".mp4.age", "-o", "-"))

	var rec struct {
		Sequence uint64
		Details  struct{ Frames int }
	}
	require.NoError(t, json.Unmarshal([]byte(o.ok("get", k.Name, "-o", file, "--sealed", "--json")), &rec))
	require.EqualValues(t, 2, rec.Sequence)
	require.Equal(t, 250, rec.Details.Frames)
	sealed, err := os.ReadFile(file + ".age")
	require.NoError(t, err)
	require.Equal(t, k.Sealed, sealed)
}

func TestGet_WhatIsNotGenuineIsNotWritten(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	k := o.own(1)[0]
	o.server.Cloud.Put(k.Name+".mp4.age", append(k.Sealed[:len(k.Sealed)-1:len(k.Sealed)-1], k.Sealed[len(k.Sealed)-1]^1))
	file := o.path("a.mp4")
	o.fails("clip "+k.Name+" is refused: its SHA-256 is not the one that the camera signed", "get", k.Name, "-o", file)
	require.NoFileExists(t, file)
	code, out, _ := o.run("get", k.Name, "-o", "-")
	require.Equal(t, 1, code)
	require.Empty(t, out)

	o.fails("no such object", "get", "20260102T030405.000Z-zzzzzzzz", "-o", file)
	o.fails("no such file or directory", "get", k.Name, "-o", o.path("no/such/a.mp4"))
}

// A grant is followed only over https, and to no other host by redirect. S11
func TestP10_S11_GrantOverPlainHTTPIsRefused(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	k := o.own(1)[0]
	o.server.Storage = "http://127.0.0.1:1"
	o.fails("not https", "get", k.Name, "-o", o.path("a.mp4"))
}

func TestSync_OverHTTPS(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(4)
	dir := o.path("clips")
	out := o.ok("sync", dir)
	require.Contains(t, out, clips[0].Name+".mp4: main 1, ")
	require.Contains(t, out, "4 clips fetched, 0 were there already\n")
	require.Contains(t, o.ok("sync", dir), "0 clips fetched, 4 were there already\n")
	for _, k := range clips {
		got, err := os.ReadFile(filepath.Join(dir, k.Name+".mp4"))
		require.NoError(t, err)
		require.Equal(t, k.Plain, got)
	}
	lines := strings.Split(strings.TrimSpace(o.ok("sync", o.path("other"), "--json")), "\n")
	require.Len(t, lines, 4)
	for i, l := range lines {
		var rec struct{ Name string }
		require.NoError(t, json.Unmarshal([]byte(l), &rec))
		require.Equal(t, clips[i].Name, rec.Name)
	}
}

func TestSync_ForgedClipIsExitCode1(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(2)
	o.server.Cloud.Put(clips[0].Name+".jws", []byte(clips[1].Token))
	code, _, errs := o.run("sync", o.path("clips"))
	require.Equal(t, 1, code)
	require.Equal(t, fmt.Sprintf("camctl: clip %s is refused: manifest: of another clip\n"+
		"camctl: main: clip 1 is missing (not in the cloud, or not yet)\n"+
		"camctl: 1 clips are not what the camera made, or not there, and were not kept\n", clips[0].Name), errs)
}

func TestSync_TwoIntoOneFolder(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.own(1)
	unlock, err := claimFolder(o.path("clips"))
	require.NoError(t, err)
	defer unlock()
	o.fails("another camctl sync is writing to", "sync", o.path("clips"))
}

// A cloud that wants to steer the terminal does not.
func TestPrintable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a?[2Jb\n?c?", printable("a\x1b[2Jb\n\rc\u202e"))
	o := newOwner(t)
	k := o.own(1)[0]
	o.server.Cloud.Fail(func(string, string) error {
		return &api.Error{Status: 503, Code: api.CodeUnavailable, Message: "\x1b]0;owned\x07 \n second line"}
	})
	code, _, errs := o.run("get", k.Name, "-o", o.path("a"))
	require.Equal(t, 1, code)
	require.NotContains(t, errs, "\x1b")
	require.Equal(t, 1, strings.Count(errs, "\n"))
}
