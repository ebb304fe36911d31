package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/scripts/s3dev"
	"iid2secure.nl/camagent/scripts/stack"

	"iid2secure.nl/camagent/cmd/camctl/internal/join/jointest"
)

// patience is how long the test waits for something that must come.
const patience = 60 * time.Second

// programs builds camera, cloud and camctl.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "../camctl", "../camcloud", "../camagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	gateway, err := s3dev.Binary(t.Context())
	require.NoError(t, err)
	require.NoError(t, os.Symlink(gateway, filepath.Join(dir, "versitygw")))
	return dir
}

// real is an owner with a camera that records, its cloud, and its storage.
type real struct {
	*stack.Stack
	t     *testing.T
	bin   string
	local string // where the camera is on the local network
}

func newReal(t *testing.T) *real {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &real{t: t, bin: programs(t), local: l.Addr().String()}
	require.NoError(t, l.Close())
	r.Stack, err = stack.New(t.Context(), stack.Options{Bin: r.bin, Dir: t.TempDir(), Camera: map[string]any{
		"record": map[string]any{"clip_length": "2s"}, "local": map[string]any{"address": r.local}}})
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	require.NoError(t, r.Start(t.Context()))
	return r
}

// bucket is what an owner knows who keeps the storage: its address, and the
// environment with its keys.
func (r *real) bucket() (address string, env []string) {
	r.t.Helper()
	var keys struct{ Access, Secret string }
	_, err := durable.ReadJSON(r.Path("cloud", "storage-keys.json"), &keys)
	require.NoError(r.t, err)
	var info struct{ Storage, CA string }
	_, err = durable.ReadJSON(r.Path("cloud", "info.json"), &info)
	require.NoError(r.t, err)
	return "https://" + info.Storage + "/camagent", []string{"AWS_ACCESS_KEY_ID=" + keys.Access, "AWS_SECRET_ACCESS_KEY=" + keys.Secret, "AWS_CA_BUNDLE=" + info.CA}
}

// camctl runs the program; with its whole environment, so that nothing of ours
// leaks in.
func (r *real) camctl(env []string, args ...string) (string, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(r.bin, "camctl"), args...)
	c.Env = append([]string{"CAMCTL_CONFIG=" + r.Path("owner"), "PATH=" + os.Getenv("PATH")}, env...)
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		r.t.Logf("camctl %s: %v: %s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), err
}

func (r *real) ok(env []string, args ...string) string {
	r.t.Helper()
	out, err := r.camctl(env, args...)
	require.NoError(r.t, err)
	return out
}

func (r *real) list(env []string, args ...string) (list []clipLine) {
	r.t.Helper()
	require.NoError(r.t, json.Unmarshal([]byte(r.ok(env, append([]string{"clips", "--json"}, args...)...)), &list))
	return list
}

// clips waits until there are some, and returns the first.
func (r *real) clips(env []string, n int, args ...string) (names []string, frames int) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; {
		list := slices.DeleteFunc(r.list(env, append(args, "--details")...), func(l clipLine) bool { return !l.Complete })
		if len(list) >= n {
			for _, l := range list[:n] {
				names = append(names, l.Name)
				frames += l.Frames
			}
			return names, frames
		}
		require.True(r.t, time.Now().Before(end), "%d clips, want %d", len(list), n)
	}
}

// film checks a film that was made of clips.
func (r *real) film(path string, frames int) {
	r.t.Helper()
	seen := jointest.Look(r.t, path)
	require.Equal(r.t, frames, seen.Pictures)
	require.Positive(r.t, seen.Sounds)
}

// Clips of a camera come back by its cloud, by the bucket alone, and when both are
// away by the camera, on the local network: as one film that plays.
func TestM10_P10_ClipsComeBackFromWhereverTheyAre(t *testing.T) {
	t.Parallel()
	r := newReal(t)
	r.ok(nil, "set", "microphone=on")
	_, before := r.clips(nil, 2) // until sound is in all that follows
	require.Positive(t, before)
	since := time.Now().UTC().Format(time.RFC3339Nano)
	names, frames := r.clips(nil, 3, "--from", since)
	names, frames = names[1:], frames-r.list(nil, "--from", since, "--details")[0].Frames
	film := r.Path("film.mp4")
	r.ok(nil, append([]string{"get", "--join", "-o", film}, names...)...)
	r.film(film, frames)

	r.listedByTime(since)
	r.killed(names, frames)

	address, keys := r.bucket()
	require.NotEmpty(t, r.list(keys, "--bucket", address, "--from", since))
	r.ok(keys, append([]string{"get", "--bucket", address, "--join", "-o", r.Path("bucket.mp4")}, names...)...)
	r.film(r.Path("bucket.mp4"), frames)

	// By the broker, from the card, of which the store has a copy already.
	r.ok(nil, append([]string{"get", "--on-card", "--lan=off", "--join", "-o", r.Path("card.mp4")}, names...)...)
	r.film(r.Path("card.mp4"), frames)

	require.NoError(t, r.Cloud.Stop())
	onCard := []string{"--on-card", "--lan=" + r.local}
	waits, frames := func() ([]string, int) {
		var names []string
		for end := time.Now().Add(patience); ; {
			frames := 0
			names = nil
			for _, l := range r.list(nil, append(onCard, "--details", "--from", since)...) {
				if l.Uploaded != nil && !*l.Uploaded {
					names = append(names, l.Name)
					frames += l.Frames
				}
			}
			if len(names) >= 2 {
				return names, frames
			}
			require.True(t, time.Now().Before(end), "no clips wait on the card")
		}
	}()
	r.ok(nil, slices.Concat([]string{"get", "--join", "-o", r.Path("local.mp4")}, onCard, waits)...)
	r.film(r.Path("local.mp4"), frames)
	last := waits[len(waits)-1]
	require.Contains(t, r.ok(nil, "upload", last, onCard[1]), last+"  goes before the others now")
}

// listedByTime: the cloud itself leaves out what was not asked for.
func (r *real) listedByTime(since string) {
	r.t.Helper()
	var info struct{ API, Token, CA string }
	_, err := durable.ReadJSON(r.Path("cloud", "info.json"), &info)
	require.NoError(r.t, err)
	pem, err := os.ReadFile(info.CA)
	require.NoError(r.t, err)
	roots := x509.NewCertPool()
	require.True(r.t, roots.AppendCertsFromPEM(pem))
	client := api.New(info.API, roots, cloud.NewSecret(info.Token))
	defer client.Close()
	cameras, err := client.Cameras(r.t.Context())
	require.NoError(r.t, err)
	from, err := time.Parse(time.RFC3339, since)
	require.NoError(r.t, err)
	count := map[bool]int{} // by whether it is from before
	for _, limit := range []int{1, 500} {
		for before, q := range map[bool]api.ObjectQuery{true: {To: from, Limit: limit}, false: {From: from, Limit: limit}} {
			for {
				page, err := client.Objects(r.t.Context(), cameras[0].Serial, q)
				require.NoError(r.t, err)
				for _, o := range page.Objects {
					require.Equal(r.t, before, o.Name < cloud.ClipTime(from), o.Name)
					count[before]++
				}
				if q.After = page.Next; q.After == "" {
					break
				}
			}
		}
	}
	require.Positive(r.t, count[true])
	require.Positive(r.t, count[false])
}

// killed: whenever camctl is killed, a film under its name is whole, and the next
// run brings it.
func (r *real) killed(names []string, frames int) {
	r.t.Helper()
	film := r.Path("killed.mp4")
	args := append([]string{"get", "--join", "-o", film, "--jobs", "1"}, names...)
	for ms := 20; ms <= 200; ms += 20 {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Duration(ms)*time.Millisecond)
		c := exec.CommandContext(ctx, filepath.Join(r.bin, "camctl"), args...) // SIGKILL when ctx ends
		c.Env = []string{"CAMCTL_CONFIG=" + r.Path("owner")}
		err := c.Run()
		cancel()
		if _, missing := os.Stat(film); missing == nil {
			r.film(film, frames)
			require.NoError(r.t, os.Remove(film))
		} else {
			require.Error(r.t, err)
		}
	}
	r.ok(nil, args...)
	r.film(film, frames)
	require.Empty(r.t, glob(r.t, r.Path("*.age.part")))
}
