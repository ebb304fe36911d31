package verify_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// shelf is a folder with what a camera made.
type shelf struct {
	t     testing.TB
	cam   *fakecloud.Camera
	dir   string
	now   time.Time
	frame uint64
}

func newShelf(t testing.TB) *shelf {
	t.Helper()
	return &shelf{t: t, cam: newCamera(t), dir: t.TempDir(), now: start}
}

func (s *shelf) path(name string) string { return filepath.Join(s.dir, name) }

// make records the next clip of 250 frames without putting it anywhere.
func (s *shelf) make() fakecloud.Clip {
	s.t.Helper()
	s.now = s.now.Add(10 * time.Second)
	first := s.frame
	s.frame += 250
	return clipAt(s.t, s.cam, s.now, func(_ *cloud.Manifest, d *cloud.ClipDetails) {
		d.FirstFrame, d.LastFrame = first, first+249
	})
}

func clipAt(t testing.TB, cam *fakecloud.Camera, at time.Time, edit func(*cloud.Manifest, *cloud.ClipDetails)) fakecloud.Clip {
	t.Helper()
	k, err := cam.Clip(at, "main", edit)
	require.NoError(t, err)
	return k
}

func (s *shelf) put(name string, b []byte) {
	s.t.Helper()
	require.NoError(s.t, os.MkdirAll(filepath.Dir(s.path(name)), 0o700))
	require.NoError(s.t, os.WriteFile(s.path(name), b, 0o600))
}

func (s *shelf) keep(k fakecloud.Clip) fakecloud.Clip {
	s.put(k.Name+cloud.ExtClip, k.Sealed)
	s.put(k.Name+cloud.ExtManifest, []byte(k.Token))
	return k
}

func (s *shelf) clips(n int) (out []fakecloud.Clip) {
	for range n {
		out = append(out, s.keep(s.make()))
	}
	return out
}

func (s *shelf) gap(reason cloud.GapReason, missing ...cloud.Span) fakecloud.Gap {
	s.t.Helper()
	g, err := s.cam.Gap(s.now, "main", reason, missing, nil)
	require.NoError(s.t, err)
	s.put(g.Name+cloud.ExtGap, []byte(g.Token))
	return g
}

func (s *shelf) check(edit func(*verify.Check)) verify.Report {
	s.t.Helper()
	folder, err := verify.NewFolder(s.dir)
	require.NoError(s.t, err)
	c := verify.Check{Camera: s.cam.Pinned(), Secret: s.cam.Secret, Store: folder}
	if edit != nil {
		edit(&c)
	}
	r, err := c.Run(s.t.Context())
	require.NoError(s.t, err)
	require.Equal(s.t, len(r.Faults) == 0 && (r.Complete || c.Partial || !c.All), r.Good)
	return r
}

// faults are kinds and numbers, as "missing 3-4".
func faults(r verify.Report) (out []string) {
	for _, f := range r.Faults {
		text := string(f.Kind)
		if f.From > 0 {
			text += fmt.Sprintf(" %d-%d", f.From, f.To)
		}
		out = append(out, text)
	}
	return out
}

func TestR2_CheckOfAGoodFolder(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.clips(3)
	// As they lie on a card, and beside other things.
	k := s.make()
	s.put("pending/routine/2026010203/"+k.Name+cloud.ExtClip, k.Sealed)
	s.put("uploaded/2026010203/"+k.Name+cloud.ExtManifest, []byte(k.Token))
	s.put("open/"+cloud.ClipName(s.now)+".mp4.age.part", []byte("x")) // is being written
	s.put(k.Name+".jpg.age", []byte("x"))
	s.put("README", []byte("x"))
	r := s.check(nil)
	require.Empty(t, r.Faults)
	require.Equal(t, 4, r.Clips)
	require.Positive(t, r.Bytes)
	require.Equal(t, []verify.Line{{Stream: "main", First: 1, Last: 4, Begin: true}}, r.Lines)
	require.Len(t, r.Notes, 1)
	require.Contains(t, r.Notes[0], "whether newer ones are missing can't be told")

	seq, hash := s.cam.Head("main")
	r = s.check(func(c *verify.Check) { c.Heads = map[string]verify.Head{"main": {Sequence: seq, Hash: hash}} })
	require.Empty(t, r.Faults)
	require.Empty(t, r.Notes)
	require.True(t, r.Lines[0].End)
}

// R2: each fault is named for what it is, and nothing else is.
func TestR2_CheckNamesExactlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(s *shelf, k []fakecloud.Clip)
		want  []string
		text  string
		clips int
	}{
		"clip and manifest are gone": {func(s *shelf, k []fakecloud.Clip) { s.remove(k[1], k[2]) }, []string{"missing 2-3"}, "main: clips 2 to 3 are missing", 3},
		"clip is gone":               {func(s *shelf, k []fakecloud.Clip) { s.rm(k[1].Name + cloud.ExtClip) }, []string{"missing 2-2"}, "its manifest is here", 4},
		"manifest is gone": {func(s *shelf, k []fakecloud.Clip) { s.rm(k[1].Name + cloud.ExtManifest) },
			[]string{"foreign", "missing 2-2"}, "has no manifest", 4},
		"clip is cut":     {func(s *shelf, k []fakecloud.Clip) { s.put(k[1].Name+cloud.ExtClip, k[1].Sealed[:100]) }, []string{"cut 2-2"}, "100 bytes", 4},
		"clip is empty":   {func(s *shelf, k []fakecloud.Clip) { s.put(k[1].Name+cloud.ExtClip, nil) }, []string{"cut 2-2"}, "0 bytes", 4},
		"clip is longer":  {func(s *shelf, k []fakecloud.Clip) { s.put(k[1].Name+cloud.ExtClip, append(k[1].Sealed, 0)) }, []string{"altered 2-2"}, "larger", 4},
		"clip is flipped": {func(s *shelf, k []fakecloud.Clip) { s.flip(k[1].Name + cloud.ExtClip) }, []string{"altered 2-2"}, "SHA-256", 4},
		"clips are swapped": {func(s *shelf, k []fakecloud.Clip) {
			s.put(k[1].Name+cloud.ExtClip, k[2].Sealed)
			s.put(k[2].Name+cloud.ExtClip, k[1].Sealed)
		}, []string{"altered 2-2", "altered 3-3"}, "SHA-256", 3},
		"manifest is flipped": {func(s *shelf, k []fakecloud.Clip) { s.flip(k[1].Name + cloud.ExtManifest) }, []string{"foreign", "missing 2-2"}, "altered, or foreign", 4},
		"manifests are swapped": {func(s *shelf, k []fakecloud.Clip) {
			s.put(k[1].Name+cloud.ExtManifest, []byte(k[2].Token))
			s.put(k[2].Name+cloud.ExtManifest, []byte(k[1].Token))
		}, []string{"foreign", "foreign", "missing 2-3"}, "of another clip", 3},
		"a stranger's clip": {func(s *shelf, _ []fakecloud.Clip) { s.keep(clip(s.t, newCamera(s.t), nil)) }, []string{"foreign"}, "not by the expected key", 5},
		"another binding's": {func(s *shelf, _ []fakecloud.Clip) {
			s.keep(clip(s.t, s.cam, func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Epoch = 2 }))
		}, []string{"foreign"}, "another binding", 5},
		"two with one number": {func(s *shelf, k []fakecloud.Clip) {
			s.keep(clip(s.t, s.cam, func(m *cloud.Manifest, d *cloud.ClipDetails) { m.Sequence, m.Prev, d.Boot = 5, k[4].Manifest.Prev, "c" }))
		}, []string{"order 5-5"}, "two different clips have the number 5", 6},
		"broken chain": {func(s *shelf, _ []fakecloud.Clip) {
			s.keep(clip(s.t, s.cam, func(m *cloud.Manifest, d *cloud.ClipDetails) { m.Prev, d.Boot = strings.Repeat("a", 64), "c" }))
		}, []string{"order 6-6"}, "does not follow", 6},
		"frames twice": {func(s *shelf, _ []fakecloud.Clip) {
			s.frame -= 10
			s.clips(1)
		}, []string{"order 6-6"}, "frames 1240 to 1249 are in clip 5 and in clip 6", 6},
		"forged gap": {func(s *shelf, k []fakecloud.Clip) {
			s.remove(k[1])
			thief := newCamera(s.t)
			clip(s.t, thief, nil)
			clip(s.t, thief, nil)
			g, err := thief.Gap(start, "main", cloud.GapRetention, []cloud.Span{{From: 2, To: 2}}, nil)
			require.NoError(s.t, err)
			s.put(g.Name+cloud.ExtGap, []byte(g.Token))
		}, []string{"foreign", "missing 2-2"}, "expected key", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			k := s.clips(5)
			tt.spoil(s, k)
			r := s.check(nil)
			require.Equal(t, tt.want, faults(r))
			require.Equal(t, tt.clips, r.Clips)
			all := ""
			for _, f := range r.Faults {
				all += f.Text + "\n"
			}
			require.Contains(t, all, tt.text)
			require.Equal(t, len(r.Faults), strings.Count(all, "\n"), "one line each")
			require.NotContains(t, all, s.cam.ID.Serial.Plain())
		})
	}
}

func (s *shelf) rm(name string) { require.NoError(s.t, os.Remove(s.path(name))) }

func (s *shelf) remove(list ...fakecloud.Clip) {
	for _, k := range list {
		s.rm(k.Name + cloud.ExtClip)
		s.rm(k.Name + cloud.ExtManifest)
	}
}

func (s *shelf) flip(name string) {
	b, err := os.ReadFile(s.path(name))
	require.NoError(s.t, err)
	b[len(b)-30] ^= 1
	s.put(name, b)
}

// R2: what the camera gave up is told with its reason, and is no fault.
func TestR2_CheckTellsWhatTheCameraGaveUp(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(5)
	s.gap(cloud.GapRetention, cloud.Span{From: 1, To: 2}, cloud.Span{From: 5, To: 5})
	s.gap(cloud.GapOff)
	s.gap(cloud.GapCard)
	s.clips(1)
	s.remove(k[0], k[1]) // 5 is there all the same
	r := s.check(func(c *verify.Check) { c.All = true })
	require.Empty(t, r.Faults)
	require.Equal(t, 4, r.Clips)
	require.Equal(t, 3, r.Gaps)
	require.Len(t, r.GivenUp, 3)
	texts := []string{r.GivenUp[0].Text, r.GivenUp[1].Text, r.GivenUp[2].Text}
	require.Contains(t, texts[0], "nothing recorded from 2026-01-02T03:04:55Z to 2026-01-02T03:05:55Z: recording was switched off by its owner")
	require.Contains(t, texts[1], "the card was full, gone, read-only or too slow")
	require.Equal(t, "main: clips 1 to 2: given up for newer ones before the store had them: the limits of the card", texts[2])
	require.Equal(t, verify.GivenUp{Stream: "main", From: 1, To: 2, Reason: cloud.GapRetention, Text: texts[2]}, r.GivenUp[2])

	s.rm(func() string { list, _ := filepath.Glob(s.path("*" + cloud.ExtGap)); return filepath.Base(list[0]) }())
	r = s.check(func(c *verify.Check) { c.All = true })
	require.NotEmpty(t, r.Faults, "a gap that is gone is missing itself")
}

// A clip that a power cut ended is whole, by the camera's word.
func TestR3_CheckTakesCutClips(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.keep(clipAt(t, s.cam, start, func(_ *cloud.Manifest, d *cloud.ClipDetails) { d.Cut = true }))
	r := s.check(nil)
	require.True(t, r.Good)
	require.Equal(t, 1, r.Cut)
}

// A folder may begin in the middle; a store may not.
func TestCheck_WhereChainsBegin(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	for range 3 {
		s.make()
	}
	s.clips(2)
	r := s.check(nil)
	require.Empty(t, r.Faults)
	require.Equal(t, "main begins here with number 4: what was signed before is not here", r.Notes[0])
	require.False(t, r.Lines[0].Begin)
	r = s.check(func(c *verify.Check) { c.All = true })
	require.Equal(t, []string{"missing 1-3"}, faults(r))
}

// M3: the camera's status tells where its chains end, and its card what waits.
func TestM3_CheckOfTheTail(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.clips(2)
	waits := s.make()
	seq, hash := s.cam.Head("main")
	heads := map[string]verify.Head{"main": {Sequence: seq, Hash: hash}}
	r := s.check(func(c *verify.Check) { c.Heads = heads })
	require.Equal(t, []string{"missing 3-3"}, faults(r))
	r = s.check(func(c *verify.Check) {
		c.Heads, c.Waiting = heads, map[string]string{waits.Name: waits.Token}
	})
	require.Empty(t, r.Faults)
	require.Equal(t, 1, r.Waiting)
	require.Equal(t, 2, r.Clips)

	// The clip is uploaded before its manifest.
	s.put(waits.Name+cloud.ExtClip, waits.Sealed)
	r = s.check(func(c *verify.Check) {
		c.Heads, c.Waiting = heads, map[string]string{waits.Name: waits.Token}
	})
	require.Empty(t, r.Faults)
	s.put(waits.Name+cloud.ExtManifest, []byte(waits.Token))

	r = s.check(func(c *verify.Check) {
		c.Heads = map[string]verify.Head{"main": {Sequence: 4, Hash: "h"}, "sub": {Sequence: 2}}
	})
	require.Equal(t, []string{"missing 4-4", "missing 1-2"}, faults(r))
	r = s.check(func(c *verify.Check) { c.Heads = map[string]verify.Head{"main": {Sequence: 3, Hash: "other"}} })
	require.Equal(t, []string{"order 3-3"}, faults(r), "a camera with two chains")

	r = s.check(func(c *verify.Check) { c.Heads, c.Waiting = heads, map[string]string{waits.Name: "x"} })
	require.Equal(t, []string{"foreign"}, faults(r))
}

// R2: who has all the objects can take away the newest, or everything, while the
// camera is silent. What it has told before is missed; without it nothing is good.
func TestR2_M3_TheEndIsNotKnownWithoutTheCamera(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(6)
	seq, hash := s.cam.Head("main")
	heads := map[string]verify.Head{"main": {Sequence: seq, Hash: hash}}
	r := s.check(func(c *verify.Check) { c.All, c.Heads = true, heads })
	require.True(t, r.Good && r.Complete)
	r = s.check(func(c *verify.Check) { c.All, c.Seen = true, heads })
	require.Empty(t, r.Faults)
	require.False(t, r.Good || r.Complete, "there may be newer ones")
	r = s.check(func(c *verify.Check) { c.All, c.Heads = true, map[string]verify.Head{} })
	require.False(t, r.Good || r.Complete, "the camera does not know the stream")

	s.remove(k[5])
	require.Equal(t, []string{"missing 6-6"}, faults(s.check(func(c *verify.Check) { c.All, c.Seen, c.Partial = true, heads, true })))
	r = s.check(func(c *verify.Check) {
		c.All, c.Seen, c.Heads = true, heads, map[string]verify.Head{"main": {Sequence: 5, Hash: seal.Hash(k[4].Token)}}
	})
	require.Equal(t, []string{"missing 6-6", "order 6-6"}, faults(r), "the camera takes back what it said")
	s.keep(clipAt(t, s.cam, s.now, func(m *cloud.Manifest, d *cloud.ClipDetails) {
		m.Sequence, m.Prev, d.FirstFrame, d.LastFrame = 6, seal.Hash(k[4].Token), 1250, 1499
	}))
	require.Equal(t, []string{"order 6-6"}, faults(s.check(func(c *verify.Check) { c.All, c.Seen, c.Partial = true, heads, true })))

	require.NoError(t, os.RemoveAll(s.dir))
	require.NoError(t, os.MkdirAll(s.dir, 0o700))
	require.Equal(t, []string{"missing 1-6"}, faults(s.check(func(c *verify.Check) { c.All, c.Seen = true, heads })))
	r = s.check(func(c *verify.Check) { c.All = true })
	require.False(t, r.Good || r.Complete)
	require.Contains(t, r.Notes[0], "whether newer ones are missing can't be told")
	require.True(t, s.check(func(c *verify.Check) { c.All, c.Partial = true, true }).Good)
}

// A commit that was cut between manifest and clip: the camera finishes it.
func TestR2_CheckOfAClipThatIsNotInItsPlaceYet(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(2)[1]
	require.NoError(t, os.Mkdir(s.path("open"), 0o700))
	require.NoError(t, os.Rename(s.path(k.Name+cloud.ExtClip), s.path("open/"+k.Name+cloud.ExtClip+".part")))
	folder := func(c *verify.Check) { c.Parts = true }
	r := s.check(folder)
	require.Empty(t, r.Faults)
	require.Equal(t, 2, r.Clips)
	require.Contains(t, strings.Join(r.Notes, "\n"), "is signed and not in its place yet")

	// It is what was signed, or it is none.
	s.put("open/"+k.Name+cloud.ExtClip+".part", k.Sealed[:100])
	require.Equal(t, []string{"cut 2-2"}, faults(s.check(folder)))
	s.put("open/"+k.Name+cloud.ExtClip+".part", nil)
	require.Equal(t, []string{"cut 2-2"}, faults(s.check(folder)))
	s.put("open/"+k.Name+cloud.ExtClip+".part", k.Sealed)
	s.flip("open/" + k.Name + cloud.ExtClip + ".part")
	require.Equal(t, []string{"altered 2-2"}, faults(s.check(folder)))
}

// R2: whoever keeps the objects can call them what he likes; no camera uploads a
// part, and a store that has no more than that has lost the clip.
func TestR2_APartInTheStoreIsNoClip(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(6)[2]
	seq, hash := s.cam.Head("main")
	s.rm(k.Name + cloud.ExtClip)
	for _, part := range [][]byte{nil, k.Sealed} {
		s.put(k.Name+cloud.ExtClip+".part", part)
		r := s.check(func(c *verify.Check) {
			c.All, c.Heads = true, map[string]verify.Head{"main": {Sequence: seq, Hash: hash}}
		})
		require.Equal(t, []string{"missing 3-3"}, faults(r))
		require.Equal(t, 5, r.Clips)
	}
}

// R2, M3: a gap that waits on the card excuses its own number, and those of which
// it tells. No other clip may be taken away for it.
func TestR2_M3_GapsThatWaitCountForWhatTheySay(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(6)
	s.remove(k[1])
	gap, err := s.cam.Gap(s.now, "main", cloud.GapRetention, []cloud.Span{{From: 2, To: 2}}, nil)
	require.NoError(t, err)
	seq, hash := s.cam.Head("main")
	edit := func(token string) func(*verify.Check) {
		return func(c *verify.Check) {
			c.All, c.Heads = true, map[string]verify.Head{"main": {Sequence: seq, Hash: hash}}
			c.WaitingGaps = map[string]string{gap.Name: token}
		}
	}
	r := s.check(edit(gap.Token))
	require.Empty(t, r.Faults)
	require.Len(t, r.GivenUp, 1)
	require.Equal(t, 1, r.Waiting)

	s.remove(k[2])
	require.Equal(t, []string{"missing 3-3"}, faults(s.check(edit(gap.Token))))
	require.Equal(t, []string{"foreign", "missing 2-3", "missing 7-7"}, faults(s.check(edit(k[2].Token))), "not a gap")
	s.put(gap.Name+cloud.ExtGap, []byte(gap.Token)) // and here by now
	r = s.check(edit(gap.Token))
	require.Equal(t, []string{"missing 3-3"}, faults(r))
	require.Zero(t, r.Waiting)
	require.Equal(t, 1, r.Gaps)
}

// Frames that a clip should hold and no clip does are told, unless a gap does.
func TestCheck_FramesBetweenClips(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.clips(1)
	s.frame += 5
	s.clips(1)
	r := s.check(nil)
	require.Empty(t, r.Faults)
	require.Equal(t, "main: frames 250 to 254, between clips 1 and 2, are in no clip: the board may have lost them", r.Notes[1])
	s.gap(cloud.GapCard)
	require.Len(t, s.check(nil).Notes, 2)
	s.frame += 5
	s.now = s.now.Add(30 * time.Second)
	s.clips(1)
	require.Len(t, s.check(nil).Notes, 2, "the second time is the gap's")
}

// R2: a clip that failed gets its number when it can be closed, after later ones.
func TestR2_ClipsThatAreClosedLateAreInOrder(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		frames [][2]uint64 // first and last, by number
		faults []string
		text   string
	}{
		"late":            {[][2]uint64{{500, 749}, {250, 499}, {750, 999}, {0, 249}}, nil, ""},
		"one frame twice": {[][2]uint64{{500, 749}, {250, 500}, {750, 999}}, []string{"order 1-1"}, "main: frames 500 to 500 are in clip 2 and in clip 1"},
		"one in another":  {[][2]uint64{{0, 999}, {250, 499}, {700, 1100}}, []string{"order 2-2", "order 3-3"}, "main: frames 250 to 499 are in clip 1 and in clip 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			for _, f := range tt.frames {
				s.now = s.now.Add(10 * time.Second)
				s.keep(clipAt(t, s.cam, s.now, func(_ *cloud.Manifest, d *cloud.ClipDetails) { d.FirstFrame, d.LastFrame = f[0], f[1] }))
			}
			r := s.check(nil)
			require.Equal(t, tt.faults, faults(r))
			if tt.text != "" {
				require.Equal(t, tt.text, r.Faults[0].Text)
			}
			require.Len(t, r.Notes, 1, "no frame is in no clip")
		})
	}
}

// R2: in any mode, between clips that belong together.
func TestR2_FramesBetweenClipsOfEveryKind(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		a, b  [2]string // trigger and event
		notes string
	}{
		"schedule":          {[2]string{"schedule"}, [2]string{"schedule"}, "nothing was to be recorded, or"},
		"one event":         {[2]string{"motion", "e"}, [2]string{"motion", "e"}, "the board may have lost them"},
		"an event goes on":  {[2]string{"motion", "e"}, [2]string{"command", "e"}, "the board may have lost them"},
		"two events":        {[2]string{"motion", "e"}, [2]string{"motion", "f"}, ""},
		"an event in a day": {[2]string{"motion", "e"}, [2]string{"continuous"}, ""},
		"the mode changed":  {[2]string{"command"}, [2]string{"continuous"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			for i, of := range [][2]string{tt.a, tt.b} {
				first := uint64(260 * i)
				s.now = s.now.Add(10 * time.Second)
				s.keep(clipAt(t, s.cam, s.now, func(_ *cloud.Manifest, d *cloud.ClipDetails) {
					d.FirstFrame, d.LastFrame, d.Trigger, d.Event = first, first+249, of[0], of[1]
				}))
			}
			seq, hash := s.cam.Head("main")
			r := s.check(func(c *verify.Check) { c.Heads = map[string]verify.Head{"main": {Sequence: seq, Hash: hash}} })
			require.Empty(t, r.Faults)
			if tt.notes == "" {
				require.Empty(t, r.Notes)
				return
			}
			require.Len(t, r.Notes, 1)
			require.Contains(t, r.Notes[0], "frames 250 to 259")
			require.Contains(t, r.Notes[0], tt.notes)
		})
	}
}

func TestP6_CheckWithoutTheSecret(t *testing.T) {
	t.Parallel()
	s, other := newShelf(t), newCamera(t)
	s.clips(2)
	r := s.check(func(c *verify.Check) { c.Secret = other.Secret })
	require.True(t, r.Good)
	require.Equal(t, 2, r.Clips)
	require.Contains(t, strings.Join(r.Notes, "\n"), "2 clips are sealed to others")
}

func TestCheck_FoldersAndFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	k := s.clips(2)
	_, err := verify.NewFolder(s.path("nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = verify.NewFolder(s.path(k[0].Name + cloud.ExtClip))
	require.ErrorContains(t, err, "is no folder")
	gone := vanishing{Store: must(verify.NewFolder(s.dir)), name: k[1].Name + cloud.ExtClip}
	r := s.check(func(c *verify.Check) { c.Store = gone })
	require.Equal(t, []string{"unreadable"}, faults(r))
	require.Contains(t, r.Faults[0].Text, "can't be read: file does not exist")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCheck_TellsHowFarItIs(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.clips(3)
	s.gap(cloud.GapOff)
	var done, total int64
	s.check(func(c *verify.Check) {
		c.Progress = func(d, n int64) { done, total = d, n }
	})
	require.Positive(t, total)
	require.Equal(t, total, done)
}

// BenchmarkCheck10000 is a folder of 10,000 clips of 2 Mbit/s, 10 s each: at
// most 30 s. The files share their bytes on the disk.
func BenchmarkCheck10000(b *testing.B) {
	s := newShelf(b)
	plain := make([]byte, 2_500_000)
	sealed, err := s.cam.Seal(plain)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(s.path("bytes"), sealed, 0o600))
	sum := seal.Hash(string(sealed))
	for range 10_000 {
		s.now = s.now.Add(10 * time.Second)
		first := s.frame
		s.frame += 250
		k := clipAt(b, s.cam, s.now, func(m *cloud.Manifest, d *cloud.ClipDetails) {
			m.Size, m.SHA256 = int64(len(sealed)), sum
			d.FirstFrame, d.LastFrame = first, first+249
		})
		hour := filepath.Join(s.dir, k.Name[:11])
		require.NoError(b, os.MkdirAll(hour, 0o700))
		require.NoError(b, os.Link(s.path("bytes"), filepath.Join(hour, k.Name+cloud.ExtClip)))
		require.NoError(b, os.WriteFile(filepath.Join(hour, k.Name+cloud.ExtManifest), []byte(k.Token), 0o600))
	}
	b.ReportAllocs()
	for b.Loop() {
		r := s.check(nil)
		require.True(b, r.Good)
		require.Equal(b, 10_000, r.Clips)
	}
	b.ReportMetric(10_000/b.Elapsed().Seconds()*float64(b.N), "clips/s")
}

// vanishing is a store whose file can't be opened.
type vanishing struct {
	verify.Store
	name string
}

func (v vanishing) Open(ctx context.Context, o verify.Object) (io.ReadCloser, error) {
	if o.Name == v.name {
		return nil, &os.PathError{Op: "open", Path: "/somewhere", Err: os.ErrNotExist}
	}
	return v.Store.Open(ctx, o)
}
