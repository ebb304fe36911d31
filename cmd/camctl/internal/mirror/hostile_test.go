package mirror

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

const gapObject = "20260102T030405.000Z-aaaaaaaa" + cloud.ExtGap

var tooLarge = bytes.Repeat([]byte("x"), seal.MaxStatement+1)

// A store that took clips away can't keep that from being told, whatever it gives,
// or does not give, in the place of a gap; and a camera's word behind it counts.
func TestR2_S10_NoStoreSilencesMissing(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		gap  []byte
		fail error
		told string
	}{
		"too large":         {gap: tooLarge, told: "is refused: its statement is larger than 65536 bytes"},
		"listed, not there": {gap: []byte("x"), fail: errGone, told: "not there"},
		"breaks off":        {gap: []byte("x"), fail: broken, told: "what the camera says of missing clips can't be had: gap"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.upload("main")
				b.make("main")
				b.make("main")
				g, err := b.cam.Gap(b.now, "main", cloud.GapRetention, []cloud.Span{{From: 2, To: 2}}, nil)
				require.NoError(t, err)
				b.cloud.Put(gapObject, c.gap)
				b.cloud.UploadGap(g)
				b.upload("main")
				b.failing(gapObject, c.fail)
				stop := b.follow()
				after(settle + 2*pollEvery)
				require.Len(t, b.warns(), 3)
				require.Contains(t, b.warns()[0]+b.warns()[2], c.told)
				require.Contains(t, b.warns(), "main: clip 3 is missing (not in the cloud, or not yet)")
				require.Contains(t, b.warns(), "main: clip 2: given up for newer ones before the store had them: the limits of the card")
				after(time.Hour)
				require.Len(t, b.warns(), 3, "once each")
				require.ErrorIs(t, stop(), context.Canceled)
			})
		})
	}
}

// A clip that never comes keeps nobody from hearing what else is missing.
func TestR2_S10_AnObjectThatNeverComesHidesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.upload("main")
		b.make("main")
		b.upload("main")
		stuck := b.upload("main")
		b.failing(stuck.Name+cloud.ExtClip, errors.New("connection reset"))
		stop := b.follow()
		after(doubt + 2*maxWait)
		require.Contains(t, b.warns(), "main: clip 2 is missing (not in the cloud, or not yet)")
		require.Len(t, b.warns(), 2)
		require.ErrorIs(t, stop(), context.Canceled)
	})
}

// Bad objects come first, as many as it takes to think that the cloud is away.
func TestS10_R6_BadObjectsKeepNoOthersAway(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(b *bench, name string){
		"manifest too large": func(b *bench, name string) { b.cloud.Put(name+cloud.ExtManifest, tooLarge) },
		"manifest not there": func(b *bench, name string) { b.failing(name+cloud.ExtManifest, errGone) },
		"clip not there":     func(b *bench, name string) { b.failing(name+cloud.ExtClip, errGone) },
		"breaks off":         func(b *bench, name string) { b.failing(name+cloud.ExtClip, errors.New("connection reset")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				for range 2 * maxFailed {
					spoil(b, b.upload("main").Name)
				}
				good := []string{b.upload("main").Name, b.upload("main").Name}
				stop := b.follow()
				after(5 * maxWait)
				require.Equal(t, good, b.clips())
				require.LessOrEqual(t, len(b.warns()), 2*maxFailed+1, "once each at most, and what is missing by that")
				require.ErrorIs(t, stop(), context.Canceled)
			})
		})
	}
}
