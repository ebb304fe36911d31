package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/fakecloud"
)

func TestSync_EachClipOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var all []fakecloud.Clip
	for range 4 {
		all = append(all, b.upload("main"), b.upload("sub"))
	}
	b.cloud.Put("20260102T030405.000Z-aaaaaaaa.jpg.age", []byte("a snapshot is no clip"))
	require.Equal(t, Summary{Fetched: 8}, b.run())
	for _, k := range all {
		b.has(k)
		require.Equal(t, 1, b.cloud.Asked(k.Name+".mp4.age"))
	}
	require.Empty(t, b.warns())

	last := b.upload("main")
	require.Equal(t, Summary{Fetched: 1, Present: 8}, b.run())
	b.has(last)
	require.Equal(t, 1, b.cloud.Asked(all[0].Name+".jws"))
	require.Equal(t, Summary{Present: 9}, b.run())
}

func TestSync_RecordHoldsManifestAndDetails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.upload("main")
	k := b.upload("main")
	b.run()
	raw, err := os.ReadFile(filepath.Join(b.dir, k.Name+".json"))
	require.NoError(t, err)
	var r map[string]any
	require.NoError(t, json.Unmarshal(raw, &r))
	require.Equal(t, b.cam.ID.Serial.Plain(), r["serial"])
	require.Equal(t, "main", r["stream"])
	require.EqualValues(t, 2, r["sequence"])
	require.Equal(t, k.Manifest.SHA256, r["sha256"])
	require.Equal(t, k.Manifest.Prev, r["prev"])
	require.Equal(t, seal.Hash(k.Token), r["manifest_sha256"])
	require.EqualValues(t, 250, r["details"].(map[string]any)["frames"])
	for _, ext := range []string{".json", ".mp4"} {
		info, err := os.Stat(filepath.Join(b.dir, k.Name+ext))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestSync_HalfUploadedWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.make("main")
	b.cloud.Put(k.Name+".mp4.age", k.Sealed)
	require.Equal(t, Summary{}, b.run())
	b.cloud.Upload(k)
	require.Equal(t, Summary{Fetched: 1}, b.run())
}

// A clip without its record was cut off: it is fetched again, and nothing of
// the first try stays.
func TestSync_ResumesAfterBeingKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.upload("main")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, k.Name+".mp4"), []byte("old"), 0o600))
	require.Equal(t, Summary{Fetched: 1}, b.run())
	b.has(k)
	entries, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file, no sealed file stays")
}

func TestP6_SyncRefusesForgedClipAndTheOthersCome(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first, bad, last := b.upload("main"), b.upload("main"), b.upload("main")
	flipped := []byte(strings.Clone(string(bad.Sealed)))
	flipped[len(flipped)-3] ^= 0x40
	b.cloud.Put(bad.Name+".mp4.age", flipped)
	require.Equal(t, Summary{Fetched: 2, Refused: 1}, b.run())
	b.has(first)
	b.has(last)
	require.NoFileExists(t, filepath.Join(b.dir, bad.Name+".mp4"))
	require.Len(t, b.warns(), 1)
	require.Contains(t, b.warns()[0], "clip "+bad.Name+" is refused: its SHA-256 is not the one that the camera signed")
}

func TestP6_SyncReplacedBothObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.upload("main")
	thief, err := fakecloud.NewCamera(b.cam.Secret)
	require.NoError(t, err)
	forged, err := thief.Clip(b.now, "main", nil)
	require.NoError(t, err)
	b.cloud.Put(k.Name+".mp4.age", forged.Sealed)
	b.cloud.Put(k.Name+".jws", []byte(forged.Token))
	require.Equal(t, Summary{Refused: 1}, b.run())
	require.Contains(t, b.warns()[0], "not by the expected key")
}

func TestSync_MissingClipIsToldOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.upload("main")
	lost, lost2 := b.make("main"), b.make("main")
	b.upload("main")
	require.Equal(t, Summary{Fetched: 2, Missing: 2}, b.run())
	require.Equal(t, []string{"main: clips 2 to 3 are missing (not in the cloud, or not yet)"}, b.warns())
	b.cloud.Upload(lost)
	b.cloud.Upload(lost2)
	require.Equal(t, Summary{Fetched: 2, Present: 2}, b.run())
}

func TestSync_BrokenChainIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.upload("main")
	k, err := b.cam.Clip(b.now.Add(time.Hour), "main", func(m *cloud.Manifest, _ *cloud.ClipDetails) { m.Prev = strings.Repeat("0", 64) })
	require.NoError(t, err)
	b.cloud.Upload(k)
	require.Equal(t, Summary{Fetched: 2}, b.run())
	require.Equal(t, []string{"main: clip 2 does not follow clip 1: the chain is broken"}, b.warns())
}

func TestSync_CloudAwayIsAnError(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.upload("main")
	b.cloud.Fail(func(string, string) error { return fakecloud.ErrAway })
	_, err := b.mirror().Run(t.Context(), false)
	require.ErrorIs(t, err, fakecloud.ErrAway)
}

func TestSync_FolderThatCantBeWritten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.upload("main")
	require.NoError(t, os.Mkdir(filepath.Join(b.dir, k.Name+".mp4"), 0o700))
	_, err := b.mirror().Run(t.Context(), true)
	require.ErrorContains(t, err, "is a folder")
}

func TestSync_DamagedRecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k := b.upload("main")
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, k.Name+".json"), []byte("{"), 0o600))
	_, err := b.mirror().Run(t.Context(), false)
	require.ErrorContains(t, err, k.Name+".json is damaged: remove it")
}

func TestFollow_ClipsAsTheyArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		first := b.upload("main")
		stop := b.follow()
		synctest.Wait()
		b.has(first)
		second := b.upload("main")
		after(pollEvery)
		b.has(second)
		require.ErrorIs(t, stop(), context.Canceled)
		require.Equal(t, []string{first.Name, second.Name}, b.clips())
		require.Empty(t, b.warns())
	})
}

func TestR8_FollowSurvivesTheCloudBeingAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.upload("main")
		stop := b.follow()
		synctest.Wait()
		b.cloud.Fail(func(string, string) error { return fakecloud.ErrAway })
		before := b.cloud.Asked("")
		k := b.upload("main")
		after(10 * time.Minute)
		require.Equal(t, []string{"trying again: cloud: connection refused"}, b.warns())
		tries := b.cloud.Asked("") - before
		require.Less(t, tries, 40, "backs off")
		require.Greater(t, tries, 8, "but goes on")
		b.cloud.Fail(nil)
		after(2 * maxWait)
		b.has(k)
		require.Equal(t, "the cloud is back", b.warns()[1])
		require.ErrorIs(t, stop(), context.Canceled)
		require.Len(t, b.warns(), 2)
	})
}

// The storage refuses one object for good: the others come all the same.
func TestFollow_OneObjectThatFailsDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stuck := b.upload("main")
		b.cloud.Fail(func(op, name string) error {
			if op == "fetch" && name == stuck.Name+".mp4.age" {
				return errors.New("storage answered 500")
			}
			return nil
		})
		k := b.upload("main")
		stop := b.follow()
		synctest.Wait()
		b.has(k)
		b.cloud.Fail(nil)
		after(2 * maxWait)
		b.has(stuck)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

func TestFollow_BackfillWithOldNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		old := b.make("main")
		b.now = b.now.Add(24 * time.Hour)
		b.upload("main")
		stop := b.follow()
		after(10 * time.Second)
		require.Empty(t, b.warns(), "lanes overtake each other: patience")
		b.cloud.Upload(old)
		after(wholeEvery)
		b.has(old)
		require.ErrorIs(t, stop(), context.Canceled)
		require.Empty(t, b.warns())
	})
}

func TestFollow_GapIsToldOnceAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.make("main")
		second := b.make("main")
		b.upload("main")
		stop := b.follow()
		after(settle / 2)
		require.Empty(t, b.warns())
		after(settle)
		require.Len(t, b.warns(), 1)
		b.cloud.Upload(second)
		after(10 * time.Minute)
		b.has(second)
		require.Len(t, b.warns(), 1, "what is left of a gap is not told again")
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

func TestFollow_MendedClipIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		k := b.upload("main")
		b.cloud.Put(k.Name+".mp4.age", []byte("rubbish"))
		stop := b.follow()
		after(3 * wholeEvery)
		require.Len(t, b.warns(), 1, "told once")
		require.Less(t, b.cloud.Asked(k.Name+".mp4.age"), 6, "and not fetched at every look")
		b.cloud.Upload(k)
		after(wholeEvery + pollEvery)
		b.has(k)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

func TestFollow_RefusedAccountEndsIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.cloud.Fail(func(string, string) error {
		return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthorized, Message: "no"}
	})
	_, err := b.mirror().Run(t.Context(), true)
	var refusal *api.Error
	require.ErrorAs(t, err, &refusal)
}

func TestFollow_DownloadThatStallsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		k := b.upload("main")
		never := make(chan struct{})
		b.cloud.Body(func(_ string, r io.Reader) io.Reader { return &stuck{r: r, never: never} })
		stop := b.follow()
		after(16 * time.Second)
		close(never)
		after(time.Second)
		require.Len(t, b.warns(), 1)
		require.Contains(t, b.warns()[0], "no progress for 15s")
		b.cloud.Body(nil)
		after(time.Minute)
		b.has(k)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

// stuck gives nothing until it is let go.
type stuck struct {
	r     io.Reader
	never chan struct{}
}

func (s *stuck) Read(p []byte) (int, error) {
	<-s.never
	return 0, errors.New("context canceled")
}

// Numbers that the camera says it has given up are told as that, once, and are
// known when it goes on another time; other gaps are nothing to tell.
func TestR2_WhatTheCameraGaveUpIsNotMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.upload("main")
	for range 3 {
		b.make("main")
	}
	last := b.upload("main")
	g, err := b.cam.Gap(b.now, "main", cloud.GapRetention, []cloud.Span{{From: 2, To: 3}}, nil)
	require.NoError(t, err)
	b.cloud.UploadGap(g)
	off, err := b.cam.Gap(b.now, "main", cloud.GapOff, nil, nil)
	require.NoError(t, err)
	b.cloud.UploadGap(off)
	b.upload("main")
	want := []string{
		"main: clip 4 is missing (not in the cloud, or not yet)",
		"main: clips 2 to 3: given up for newer ones before the store had them: the limits of the card",
	}
	for range 2 {
		sum := b.run()
		require.Equal(t, 1, sum.Missing)
		require.Equal(t, 2, sum.GivenUp)
		require.Equal(t, want, b.warns())
		b.has(last)
		b.said = nil
		b.cloud.Fail(func(op, name string) error {
			if op == "get" && name == g.Name+cloud.ExtGap {
				return fakecloud.ErrAway // it lies in the folder
			}
			return nil
		})
	}
}

func TestS10_ForgedGapIsRefused(t *testing.T) {
	t.Parallel()
	b, thief := newBench(t), newBench(t)
	b.make("main")
	b.upload("main")
	thief.make("main")
	g, err := thief.cam.Gap(b.now, "main", cloud.GapRetention, []cloud.Span{{From: 1, To: 1}}, nil)
	require.NoError(t, err)
	b.cloud.UploadGap(g)
	sum := b.run()
	require.Equal(t, 1, sum.Missing)
	require.Equal(t, 1, sum.Refused)
	require.Len(t, b.warns(), 2)
	require.Contains(t, b.warns()[0], "not by the expected key")
}
