package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/join/jointest"
)

// footage is what a camera recorded, clip after clip.
type footage struct {
	*ownerBench
	begin  time.Time
	uptime time.Duration
	frame  uint64
	boot   string
	clips  []fakecloud.Clip
}

func newFootage(t *testing.T) *footage {
	t.Helper()
	f := &footage{ownerBench: newOwner(t), begin: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), uptime: time.Minute, boot: "a", frame: 100}
	f.own(0)
	return f
}

// film records seconds of pictures, the next of the stream.
func (f *footage) film(seconds int, size string, edit func(*cloud.ClipDetails)) fakecloud.Clip {
	f.t.Helper()
	plain := jointest.Clip(f.t, len(f.clips), seconds, size, true)
	sealed, err := f.cam.Seal(plain)
	require.NoError(f.t, err)
	frames := seconds * jointest.GOP
	k, err := f.cam.Clip(f.begin.Add(f.uptime), "main", func(m *cloud.Manifest, d *cloud.ClipDetails) {
		sum := sha256.Sum256(sealed)
		m.Size, m.SHA256 = int64(len(sealed)), hex.EncodeToString(sum[:])
		d.Boot, d.UptimeMS, d.DurationMS, d.Frames = f.boot, f.uptime.Milliseconds(), int64(seconds)*1000, frames
		d.FirstFrame, d.LastFrame, d.Clock.Synced = f.frame, f.frame+uint64(frames)-1, true
		if edit != nil {
			edit(d)
		}
	})
	require.NoError(f.t, err)
	k.Plain, k.Sealed = plain, sealed
	f.server.Cloud.Upload(k)
	f.clips = append(f.clips, k)
	f.frame += uint64(frames)
	f.uptime += time.Duration(seconds) * time.Second
	return k
}

// pause is time in which nothing was recorded.
func (f *footage) pause(d time.Duration) {
	f.uptime += d
	f.frame += uint64(d.Seconds() * 25)
}

// leftovers are files that should not be there.
func (f *footage) leftovers() (names []string) {
	f.t.Helper()
	for _, pattern := range []string{"*.part", ".camctl-*", "*.age", "config/parts/*"} {
		found, err := filepath.Glob(f.path(pattern))
		require.NoError(f.t, err)
		names = append(names, found...)
	}
	return names
}

type made struct {
	File   string
	Frames int
	Clips  []string
	Ends   string
}

// Consecutive clips are one film that a player shows without a word: as many
// pictures as the clips have together.
func TestM10_ConsecutiveClipsAreOneFilm(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	total := 0
	for _, seconds := range []int{2, 1, 3, 1, 2} {
		f.film(seconds, "", nil)
		total += seconds * jointest.GOP
	}
	film := f.path("film.mp4")
	out := f.ok("get", "--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z", "--join", "-o", film)
	require.Contains(t, out, fmt.Sprintf("film.mp4: 5 clips from 2026-01-02T03:01:00Z, 9.0 s, %d frames, verified", total))
	seen := jointest.Look(t, film)
	require.Equal(t, total, seen.Pictures)
	require.Equal(t, total, seen.Sounds)
	require.InDelta(t, 9, seen.Seconds, 0.001)
	require.Empty(t, f.leftovers())

	piped := f.ok("get", f.clips[1].Name, f.clips[2].Name, "--join", "-o", "-")
	require.NoError(t, os.WriteFile(f.path("piped.mp4"), []byte(piped), 0o600))
	require.Equal(t, 4*jointest.GOP, jointest.Look(t, f.path("piped.mp4")).Pictures)
	require.Empty(t, f.leftovers())

	// What a pipe that broke has left does not stay for ever.
	old := f.path("config/parts/" + f.clips[0].Name + ".mp4.age.part")
	require.NoError(t, os.WriteFile(old, []byte("x"), 0o600))
	require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-partsLife-time.Hour)))
	f.ok("get", f.clips[1].Name, "-o", "-")
	require.Empty(t, f.leftovers())
}

// What can't be shown as one is told, and goes on in another file.
func TestM10_GapRestartAndAnotherPictureBeginAnotherFilm(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	f.film(1, "", nil)
	f.pause(200 * time.Millisecond) // a hole: the film keeps its time
	f.film(1, "", nil)
	f.pause(10 * time.Second)
	f.film(1, "", nil)
	f.film(1, "160x96", nil)
	f.boot, f.frame = "b", 0
	f.film(1, "160x96", nil)
	film := f.path("film.mp4")
	args := []string{"get", "--from", "2026-01-02T03:00:00Z", "--join", "-o", film, "--json"}
	code, out, errs := f.run(args...)
	require.Zero(t, code, errs)
	var films []made
	require.NoError(t, json.Unmarshal([]byte(out), &films))
	require.Len(t, films, 4)
	for i, want := range []struct {
		file, ends string
		clips      int
	}{{"film.mp4", "nothing there for 10.0 s", 2}, {"film-2.mp4", "the picture or the sound is another", 1},
		{"film-3.mp4", "the camera was restarted", 1}, {"film-4.mp4", "", 1}} {
		require.Equal(t, f.path(want.file), films[i].File)
		require.Equal(t, want.ends, films[i].Ends)
		require.Len(t, films[i].Clips, want.clips)
		require.Equal(t, want.clips*jointest.GOP, jointest.Look(t, films[i].File).Pictures)
		require.True(t, want.ends == "" || strings.Contains(errs, want.ends+": another file begins"), errs)
	}
	require.InDelta(t, 2.2, jointest.Look(t, film).Seconds, 0.001)
	f.fails("the film on standard output ends before 2026-01-02T03:01:12.2Z: nothing there for 10.0 s",
		"get", "--from", "2026-01-02T03:00:00Z", "--join", "-o", "-")
}

// A clip whose manifest is rubbish, or which is listed and not there, keeps no other
// away, and is not passed over in silence.
func TestP6_M10_WhatCanNotBeHadKeepsNoOthersAway(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	for range 4 {
		f.film(1, "", nil)
	}
	f.server.Cloud.Put(f.clips[1].Name+".jws", bytes.Repeat([]byte("x"), seal.MaxStatement+1))
	f.server.Cloud.Fail(func(op, name string) error {
		if op == "get" && name == f.clips[2].Name+".mp4.age" {
			return &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "not there"}
		}
		return nil
	})
	code, out, errs := f.run("get", "--from", "2026-01-02", "--join", "-o", f.path("film.mp4"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, f.clips[1].Name+" is refused: its statement is larger than 65536 bytes")
	require.Contains(t, errs, f.clips[2].Name+": ask for object: not there")
	require.Contains(t, errs, "2 clips are not what the camera made, or not there, and are in no film")
	require.Equal(t, 2, strings.Count(out, "1 clips from"))
	f.server.Cloud.Fail(nil)

	code, out, errs = f.run("clips", "--kind", "continuous")
	require.Equal(t, 1, code)
	require.Equal(t, 3, strings.Count(out, "continuous"), out)
	require.Contains(t, errs, "1 clip is left out that may be meant")
	code, _, _ = f.run("get", "--from", "2026-01-02", "--kind", "continuous", "-o", f.path("a")+"/")
	require.Equal(t, 1, code)
	for i, k := range f.clips {
		_, err := os.Stat(f.path("a/" + k.Name + ".mp4"))
		require.Equal(t, i == 1, err != nil, i)
	}
	f.ok("clips", "--details") // told, and nothing is left out
}

// A forged clip is in no film, and the rest is.
func TestP6_M10_ForgedClipIsInNoFilm(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	for range 3 {
		f.film(1, "", nil)
	}
	other, err := f.cam.Seal(f.clips[0].Plain)
	require.NoError(t, err)
	f.server.Cloud.Put(f.clips[1].Name+".mp4.age", other)
	code, out, errs := f.run("get", "--from", "2026-01-02", "--join", "-o", f.path("film.mp4"))
	require.Equal(t, 1, code)
	require.Contains(t, errs, f.clips[1].Name+" is refused")
	require.Contains(t, errs, "1 clips are not what the camera made, or not there, and are in no film")
	require.Equal(t, 2, strings.Count(out, "1 clips from"))
	require.Equal(t, jointest.GOP, jointest.Look(t, f.path("film-2.mp4")).Pictures)
	require.Empty(t, f.leftovers())
}

// A clip whose end a power cut took is in the film as far as it goes.
func TestR3_M10_CutClipIsInTheFilm(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	f.film(1, "", nil)
	f.film(2, "", func(d *cloud.ClipDetails) { d.Cut, d.Frames = true, jointest.GOP })
	k := f.clips[1]
	require.Contains(t, f.ok("get", k.Name, f.clips[0].Name, "--join", "-o", f.path("film.mp4")), "2 clips")
	require.Equal(t, 3*jointest.GOP, jointest.Look(t, f.path("film.mp4")).Pictures)
}

// What a broken download has brought is not downloaded again, and nothing lies
// under the film's name before it is whole.
func TestM10_BrokenFilmGoesOn(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	for range 3 {
		f.film(1, "", nil)
	}
	last := f.clips[2].Name + ".mp4.age"
	f.server.Cloud.Fail(func(op, name string) error {
		if op == "get" && name == last {
			return errors.New("the cloud has a fault")
		}
		return nil
	})
	args := []string{"get", "--from", "2026-01-02", "--join", "-o", f.path("film.mp4"), "--jobs", "1"}
	code, _, errs := f.run(args...)
	require.Equal(t, 1, code, errs)
	require.NoFileExists(t, f.path("film.mp4"))
	parts, err := filepath.Glob(f.path("*.part"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(parts), 2)
	require.Empty(t, glob(t, f.path(".camctl-*")))
	f.server.Cloud.Fail(nil)
	before := f.server.Cloud.Asked(f.clips[0].Name + ".mp4.age")
	f.ok(args...)
	require.Equal(t, before, f.server.Cloud.Asked(f.clips[0].Name+".mp4.age"))
	require.Equal(t, 3*jointest.GOP, jointest.Look(t, f.path("film.mp4")).Pictures)
	require.Empty(t, f.leftovers())
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return found
}

func TestM10_SeveralClipsGoToAFolder(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	var args []string
	for range 5 {
		args = append(args, f.film(1, "", nil).Name)
	}
	dir := f.path("clips") + "/"
	out := f.ok(append([]string{"get", "-o", dir, "--jobs", "3"}, args...)...)
	require.Equal(t, 5, strings.Count(out, "verified\n"))
	for _, k := range f.clips {
		got, err := os.ReadFile(filepath.Join(dir, k.Name+".mp4"))
		require.NoError(t, err)
		require.Equal(t, k.Plain, got)
	}
	require.Empty(t, glob(t, filepath.Join(dir, "*.part")))
	// One that is refused does not keep the others.
	f.server.Cloud.Put(f.clips[3].Name+".jws", []byte(f.clips[0].Token))
	require.NoError(t, os.RemoveAll(dir))
	code, out, errs := f.run("get", "--from", "2026-01-02T03:00:00Z", "-o", dir)
	require.Equal(t, 1, code)
	require.Contains(t, errs, f.clips[3].Name+" is refused")
	require.Equal(t, 4, strings.Count(out, "verified\n"))
}

func TestM10_ClipsAreChosenByTimeKindAndEvent(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	for i, kind := range []string{"continuous", "motion", "motion", "command"} {
		f.film(1, "", func(d *cloud.ClipDetails) {
			d.Trigger = kind
			if i == 1 || i == 2 {
				d.Event = fmt.Sprintf("event-%d", i)
			}
		})
		f.pause(time.Hour - time.Second)
	}
	names := func(args ...string) (out []string) {
		t.Helper()
		var list []struct{ Name string }
		require.NoError(t, json.Unmarshal([]byte(f.ok(append([]string{"clips", "--json"}, args...)...)), &list))
		for _, l := range list {
			for i, k := range f.clips {
				if k.Name == l.Name {
					out = append(out, fmt.Sprint(i))
				}
			}
		}
		return out
	}
	require.Equal(t, []string{"0", "1", "2", "3"}, names())
	require.Equal(t, []string{"1", "2"}, names("--from", "2026-01-02T03:30:00Z", "--to", "2026-01-02T05:30:00Z"))
	require.Equal(t, []string{"0", "1"}, names("--to", "2026-01-02T05:01:00Z"))
	require.Equal(t, []string{"1", "2"}, names("--kind", "motion"))
	require.Equal(t, []string{"0", "3"}, names("--kind", "command,continuous"))
	require.Equal(t, []string{"2"}, names("--event", "event-2"))
	require.Equal(t, []string{"1"}, names("--event", "event-1", "--kind", "motion", "--to", "2026-01-02T04:01:00.5Z"))
	require.Empty(t, names("--stream", "sub"))
	// The second time nothing is asked for but the list.
	f.server.Cloud.Fail(func(op, _ string) error {
		if op != "objects" {
			return fakecloud.ErrAway
		}
		return nil
	})
	require.Equal(t, []string{"1", "2"}, names("--kind", "motion"))
	require.Contains(t, f.ok("clips"), "main  motion      1.0 s  event-1")
	f.server.Cloud.Fail(nil)
	f.ok("get", "--event", "event-2", "-o", f.path("a")+"/")
	require.FileExists(t, f.path("a/"+f.clips[2].Name+".mp4"))
	f.fails("there are no such clips", "get", "--event", "none", "-o", f.path("a")+"/")
}

// A clip that the camera recorded before it knew the time is shown with a mark,
// dated by a later one of the same start, and found at its right time.
func TestM10_ClipsFromBeforeTheTimeWasKnownAreDatedAnew(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	right := f.begin
	f.begin = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC) // the floor of a clock that has stood still
	unsynced := func(d *cloud.ClipDetails) { d.Clock.Synced = false }
	early := f.film(1, "", unsynced)
	f.begin = right
	f.film(1, "", nil)
	f.boot = "b"
	f.begin = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	lost := f.film(1, "", unsynced)
	out := f.ok("clips", "--details")
	require.Contains(t, out, early.Name+"  2026-01-02T03:01:00.000Z")
	require.Contains(t, out, "its clock was not set yet: dated by a later clip")
	require.Contains(t, out, lost.Name+"  2025-06-01T00:01:02.000Z")
	require.Contains(t, out, "by a clock that was not set")
	var list []clipLine
	require.NoError(t, json.Unmarshal([]byte(f.ok("clips", "--from", "2026-01-02T03:00:00Z", "--json")), &list))
	require.Len(t, list, 2)
	require.Equal(t, early.Name, list[0].Name)
	require.True(t, list[0].Redated && list[0].Unsynced)
	require.NoError(t, json.Unmarshal([]byte(f.ok("clips", "--to", "2025-12-31", "--json")), &list))
	require.Len(t, list, 1)
	require.Equal(t, lost.Name, list[0].Name)
}

func TestS4_BadTimesAndChoicesAreOneLine(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	k := f.film(1, "", nil).Name
	for says, args := range map[string][]string{
		`--from: "yesterday" is not a time`:         {"clips", "--from", "yesterday"},
		"--from 2026-01-03 is not before":           {"clips", "--from", "2026-01-03", "--to", "2026-01-02"},
		"there is one place to read from":           {"clips", "--on-card", "--bucket", "https://x/y"},
		"of the form https://host[:port]/bucket":    {"clips", "--bucket", "x"},
		"several clips go to a folder":              {"get", "--from", "1h", "-o", f.path("a.mp4")},
		"several clips on standard output":          {"get", "--from", "1h", "-o", "-"},
		"names of clips, or a range: not both":      {"get", k, "--from", "1h", "-o", f.path("a.mp4")},
		"want the names of clips, or a range":       {"get", "--join", "-o", f.path("a.mp4")},
		"--jobs 0: want 1 to 16":                    {"get", k, "--jobs", "0", "-o", f.path("a.mp4")},
		"is named twice":                            {"get", k, k, "-o", f.path("a") + "/"},
		"a film goes to a file":                     {"get", k, "--join", "-o", f.path("a") + "/"},
		"upload: \"x\" is not the name of a clip":   {"upload", "x"},
		"--sealed keeps clips, and --join makes":    {"get", k, "--join", "--sealed", "-o", f.path("a.mp4")},
		"want the names of clips, or a range by --": {"get", "-o", f.path("a.mp4")},
		`--kind: is "montion", want continuous, schedule, command, motion, or several by commas`: {"clips", "--kind", "motion,montion"},
		`--kind: is "Motion", want continuous`:                                                   {"get", "--from", "1h", "--kind", "Motion", "-o", f.path("a") + "/"},
		`--stream: is "second", want main or sub`:                                                {"clips", "--stream", "second"},
		`--stream: is "Main", want main or sub`:                                                  {"get", "--from", "1h", "--join", "--stream", "Main", "-o", f.path("a.mp4")},
	} {
		code, _, errs := f.run(args...)
		require.Equal(t, 2, code, "%s: %s", says, errs)
		require.Contains(t, errs, says)
		require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	}
}

func TestM10_TimesAsAPersonTypesThem(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "90m ago": now.Add(-90 * time.Minute), "3d": now.AddDate(0, 0, -3), "now": now,
		"2026-01-02": time.Date(2026, 1, 2, 0, 0, 0, 0, zone), "2026-01-02 15:04": time.Date(2026, 1, 2, 15, 4, 0, 0, zone),
		"2026-01-02T15:04:05": time.Date(2026, 1, 2, 15, 4, 5, 0, zone), "2026-01-02T15:04:05Z": time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
		"08:30": time.Date(2026, 3, 10, 8, 30, 0, 0, zone),
	} {
		got, day, err := when("--from", text, now)
		require.NoError(t, err, text)
		require.True(t, got.Equal(want), "%s: %v", text, got)
		require.Equal(t, text == "2026-01-02", day)
	}
	for _, bad := range []string{"x", "-2h", "2026-13-01", "1e9d", "d", "2026-01-02T25:00:00Z", "ago", strings.Repeat("9", 50)} {
		_, _, err := when("--from", bad, now)
		require.ErrorContains(t, err, "--from: ", bad)
	}
	f := rangeFlags{from: "2026-01-02", to: "2026-01-02"} // a day counts whole
	from, to, err := f.times(now)
	require.NoError(t, err)
	require.Equal(t, 24*time.Hour, to.Sub(from))
}

// The cloud is away, or does not have the clip yet: the camera is asked, and both
// are told in one line if it is away, too.
func TestM10_GetAsksTheCameraWhenTheCloudCannot(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	k := f.film(1, "", nil)
	f.server.Cloud.Fail(func(string, string) error { return errors.New("out of order") })
	f.fails("out of order (nor from the card in the camera: broker 127.0.0.1:1: ", "get", k.Name, "-o", f.path("a.mp4"), "--lan=off")
}

// A killed program leaves nothing under the clip's name: what lies there is what
// was there before.
func TestM10_PlaintextHasItsNameOnlyWhenItIsWhole(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	k := f.film(1, "", nil)
	out := f.path("a.mp4")
	seen := 0
	f.server.Cloud.Body(func(_ string, r io.Reader) io.Reader {
		return readerFunc(func(p []byte) (int, error) {
			require.NoFileExists(t, out)
			for _, name := range glob(t, f.path(".camctl-*")) {
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				require.Empty(t, b) // nothing is decrypted before all has come
			}
			seen++
			return r.Read(p)
		})
	})
	f.ok("get", k.Name, "-o", out)
	require.Positive(t, seen)
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.True(t, bytes.Equal(k.Plain, got))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A disk that is full is told once; what came is kept.
func TestM10_DiskThatCannotBeWrittenIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newFootage(t)
	args := []string{"get", "-o", f.path("clips") + "/"}
	for range 6 {
		k := f.film(1, "", nil)
		args = append(args, k.Name)
		// A folder where the clip is to go: as good as any other disk that refuses.
		require.NoError(t, os.MkdirAll(f.path("clips/"+k.Name+".mp4"), 0o700))
	}
	f.fails("is a folder, want a file", append(args, "--jobs", "1")...)
}
