package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// copied puts clips into a folder, as they lie on a card.
func (o *ownerBench) copied(clips []fakecloud.Clip) (dir string) {
	o.t.Helper()
	dir = o.path("copied")
	require.NoError(o.t, os.Mkdir(dir, 0o700))
	for _, k := range clips {
		require.NoError(o.t, os.WriteFile(filepath.Join(dir, k.Name+cloud.ExtClip), k.Sealed, 0o600))
		require.NoError(o.t, os.WriteFile(filepath.Join(dir, k.Name+cloud.ExtManifest), []byte(k.Token), 0o600))
	}
	return dir
}

// M3: a folder is checked without cloud and camera.
func TestM3_VerifyFolder(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(4)
	dir := o.copied(clips)
	out := o.ok("verify", dir)
	require.Contains(t, out, "main     numbers 1 to 4\n")
	require.Contains(t, out, "genuine  4 clips (")
	require.Contains(t, out, "whether newer ones are missing can't be told")
	require.Contains(t, out, "the end is not known\n")
	require.Contains(t, out, "all that is here is good\n")

	require.NoError(t, os.Truncate(filepath.Join(dir, clips[0].Name+cloud.ExtClip), 10))
	require.NoError(t, os.Remove(filepath.Join(dir, clips[2].Name+cloud.ExtClip)))
	require.NoError(t, os.Remove(filepath.Join(dir, clips[2].Name+cloud.ExtManifest)))
	code, out, errs := o.run("verify", dir)
	require.Equal(t, 1, code)
	require.Equal(t, "camctl: 2 things are wrong\n", errs)
	require.Contains(t, out, "cut      main: clip 1, "+clips[0].Name+".mp4.age, is cut: 10 bytes")
	require.Contains(t, out, "missing  main: clip 3 is missing\n")
	require.NotContains(t, out, "all is good")

	code, out, _ = o.run("verify", dir, "--json")
	require.Equal(t, 1, code)
	var r verify.Report
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.False(t, r.Good)
	require.Equal(t, 2, r.Clips)
	require.Equal(t, verify.KindCut, r.Faults[0].Kind)
	require.Equal(t, uint64(3), r.Faults[1].From)

	require.Contains(t, o.ok("verify", t.TempDir()), "nothing is there to check\n")
	o.fails("no such file", "verify", o.path("nothing"))
	code, _, errs = o.run("verify", dir, "--bucket", "https://x/y")
	require.Equal(t, 2, code, errs)
}

// M3: all that is stored; the camera does not answer, so the tail can't be told.
func TestM3_VerifyStore(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(4)
	g, err := o.cam.Gap(time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), "main", cloud.GapRetention, []cloud.Span{{From: 1, To: 1}}, nil)
	require.NoError(t, err)
	o.server.Cloud.UploadGap(g)
	code, out, errs := o.run("verify", "--timeout", "3s")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the camera does not tell where its chains end: ")
	require.Contains(t, errs, "camctl: the end is not known: ")
	require.NotContains(t, out, "good")
	code, out, errs = o.run("verify", "--partial", "--timeout", "3s")
	require.Zero(t, code, errs)
	require.Contains(t, out, "the end is not known\nall that is here is good\n")
	require.Contains(t, out, "genuine  4 clips")
	require.Contains(t, out, "whether newer ones are missing can't be told")

	o.server.Cloud.Put(clips[1].Name+cloud.ExtClip, []byte("x"))
	o.server.Cloud.Remove(clips[0].Name+cloud.ExtClip, clips[0].Name+cloud.ExtManifest)
	code, out, _ = o.run("verify", "--timeout", "3s")
	require.Equal(t, 1, code)
	require.Contains(t, out, "cut       main: clip 2, ")
	require.Contains(t, out, "given up  main: clip 1: given up for newer ones")
	require.NotContains(t, out, "missing   ")

	// What the camera told before is missed, whatever the cloud does meanwhile.
	h := home.New(o.config())
	cam := home.Camera{Camera: bind.Camera{Serial: o.cam.ID.Serial, BindID: o.cam.BindID}}
	require.NoError(t, h.SawHeads(cam, map[string]command.ChainHead{"main": {Sequence: 7, Hash: "h"}}))
	code, out, _ = o.run("verify", "--partial", "--timeout", "3s")
	require.Equal(t, 1, code)
	require.Contains(t, out, "missing   main: clips 6 to 7 are missing")

	o.server.Cloud.Fail(func(op, _ string) error {
		if op == "objects" {
			return fakecloud.ErrAway
		}
		return nil
	})
	code, _, errs = o.run("verify", "--timeout", "3s")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "connection refused")
}

// cardCamera answers what verify asks of a camera.
type cardCamera struct {
	status command.Status
	pages  []command.ClipsPage
	files  map[string]string
}

func (c *cardCamera) Call(_ context.Context, name string, args, result any) error {
	var answer any
	switch name {
	case command.StatusGet.Name:
		answer = c.status
	case command.ClipsList.Name:
		answer, c.pages = c.pages[0], c.pages[1:]
	case command.ClipsRead.Name:
		p, _ := args.(command.ClipsPiece)
		text, ok := c.files[p.Name+"/"+p.Part]
		if !ok {
			return cloud.Refuse(cloud.CodeArgument, "not on the card")
		}
		data := text[min(int(p.Offset), len(text)):]
		answer = command.ClipsData{Data: []byte(data[:min(len(data), p.Length)]), Size: int64(len(text))}
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, result)
}

// M3: what waits on the card is not missing, and the tail is known.
func TestM3_VerifyAsksTheCamera(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(3)
	c := &ctl{}
	gap, err := o.cam.Gap(time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), "main", cloud.GapOff, nil, nil)
	require.NoError(t, err)
	seq, hash := o.cam.Head("main")
	cam := &cardCamera{status: command.Status{Chains: map[string]command.ChainHead{"main": {Sequence: seq, Hash: hash}}},
		files: map[string]string{clips[2].Name + "/manifest": clips[2].Token, gap.Name + "/gap": gap.Token},
		pages: []command.ClipsPage{
			{More: true, Clips: []command.CardClip{{Name: clips[2].Name}, {Name: clips[1].Name}}},
			{Clips: []command.CardClip{{Name: clips[0].Name, Uploaded: true}, {Name: gap.Name + cloud.ExtGap}, {Name: "x.jpg.age"}}},
		}}
	var check verify.Check
	owner := owned{home: home.New(o.config()), camera: home.Camera{Camera: bind.Camera{Serial: o.cam.ID.Serial, BindID: o.cam.BindID}}}
	require.NoError(t, c.learn(t.Context(), owner, cam, &check))
	seen, err := owner.home.Heads(owner.camera)
	require.NoError(t, err)
	require.Equal(t, cam.status.Chains, seen, "for when it does not answer")
	require.Equal(t, map[string]verify.Head{"main": {Sequence: 4, Hash: hash}}, check.Heads)
	require.Equal(t, map[string]string{clips[2].Name: clips[2].Token}, check.Waiting, "one was given up meanwhile")
	require.Equal(t, map[string]string{gap.Name: gap.Token}, check.WaitingGaps)

	cam.pages = []command.ClipsPage{
		{More: true, Clips: []command.CardClip{{Name: clips[1].Name, Uploaded: true}}},
		{More: true, Clips: []command.CardClip{{Name: clips[2].Name, Uploaded: true}}},
	}
	require.ErrorContains(t, c.learn(t.Context(), owned{}, cam, &check), "repeats itself")
}

// The cloud is away: the owner learns from the camera alone whether all that lies on
// its card is genuine, to the newest clip.
func TestM3_P10_VerifyWhatLiesOnTheCard(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	clips := o.own(3)
	gap, err := o.cam.Gap(time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), "main", cloud.GapOff, nil, nil)
	require.NoError(t, err)
	o.server.Cloud.Fail(func(string, string) error { return fakecloud.ErrAway })
	seq, hash := o.cam.Head("main")
	owner := owned{home: home.New(o.config())}
	owner.camera, err = (&ctl{}).pick(owner.home)
	require.NoError(t, err)
	owner.owner, err = owner.home.Owner()
	require.NoError(t, err)
	check := func(spoil func(cam *cardCamera)) (string, error) {
		t.Helper()
		cam := &cardCamera{status: command.Status{Chains: map[string]command.ChainHead{"main": {Sequence: seq, Hash: hash}}}, files: map[string]string{}}
		page := command.ClipsPage{Clips: []command.CardClip{{Name: gap.Name + cloud.ExtGap}, {Name: "x.jpg.age"}}}
		cam.files[gap.Name+"/gap"] = gap.Token
		for i, k := range clips {
			page.Clips = append(page.Clips, command.CardClip{Name: k.Name, Uploaded: i == 0, Size: int64(len(k.Sealed) + len(k.Token))})
			cam.files[k.Name+"/manifest"], cam.files[k.Name+"/clip"] = k.Token, string(k.Sealed)
		}
		cam.pages = []command.ClipsPage{page}
		spoil(cam)
		var out strings.Builder
		err := (&ctl{out: &out, err: io.Discard, timeout: time.Minute}).checkCard(t.Context(), owner, cam)
		return out.String(), err
	}
	out, err := check(func(*cardCamera) {})
	require.NoError(t, err)
	require.Contains(t, out, "genuine   3 clips")
	require.Contains(t, out, "all is good")

	sealed := clips[1].Name + "/clip"
	for says, spoil := range map[string]func(cam *cardCamera){
		"altered":    func(cam *cardCamera) { cam.files[sealed] = strings.Repeat("x", len(cam.files[sealed])) },
		"cut":        func(cam *cardCamera) { cam.files[sealed] = cam.files[sealed][:9] },
		"unreadable": func(cam *cardCamera) { delete(cam.files, clips[1].Name+"/manifest") },
		"foreign":    func(cam *cardCamera) { cam.files[clips[1].Name+"/manifest"] = clips[0].Token },
		"missing   main: clip 2 is missing": func(cam *cardCamera) {
			cam.pages[0].Clips = slices.DeleteFunc(cam.pages[0].Clips, func(k command.CardClip) bool { return k.Name == clips[1].Name })
		},
		"main: clip 4 is missing": func(cam *cardCamera) { cam.pages[0].Clips = cam.pages[0].Clips[1:] },
	} {
		out, err := check(spoil)
		require.Error(t, err, says)
		require.Contains(t, out, says)
	}
	for _, args := range [][]string{{"verify", t.TempDir(), "--on-card"}, {"verify", "--on-card", "--bucket", "https://x/y"}} {
		code, _, errs := o.run(args...)
		require.Equal(t, 2, code, errs)
		require.Contains(t, errs, "there is one place to read from")
	}
	o.fails("broker 127.0.0.1:1: ", "verify", "--on-card", "--lan=off", "--timeout", "3s")
}
