package agent

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/media/clip"
)

func TestSpansAreRuns(t *testing.T) {
	t.Parallel()
	require.Empty(t, spans(nil))
	require.Equal(t, []cloud.Span{{From: 1, To: 3}, {From: 5, To: 5}, {From: 7, To: 8}}, spans([]uint64{8, 1, 3, 2, 5, 7, 2}))
}

// pass lets time pass in a bubble; the card is
// looked at every few seconds, as the agent does.
func (b *storeBench) pass(d time.Duration) {
	b.t.Helper()
	for ; d > 0; d -= cardEvery {
		time.Sleep(cardEvery)
		require.NoError(b.t, b.store.tend(false))
	}
}

// inBubble runs a test of a bound camera's store in virtual time.
func inBubble(t *testing.T, test func(b *storeBench)) {
	t.Parallel()
	b := newStoreBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.start()
		test(b)
	})
}

// R2: pictures that could not be recorded are told in one signed record, though
// they were missed in several runs.
func TestR2_MissedPicturesAreASignedGap(t *testing.T) {
	inBubble(t, func(b *storeBench) {
		first := b.clip()
		from := time.Now()
		for i := range 3 {
			time.Sleep(2 * time.Second)
			n := uint64(50 + 100*i)
			b.store.Missed(clip.Miss{Stream: "main", From: time.Now(), To: time.Now().Add(time.Second), FirstFrame: n, LastFrame: n + 24, Err: spool.ErrFull})
		}
		require.NoError(b.t, b.store.tend(false))
		require.Len(b.t, b.names(), 1, "more may come")
		b.pass(gapQuiet)
		list, details := b.gapsOnCard()
		require.Len(b.t, list, 1)
		g, d := list[0], details[0]
		require.Equal(b.t, cloud.GapCard, g.Reason)
		require.Empty(b.t, g.Missing, "no number is given up")
		require.Equal(b.t, uint64(2), g.Sequence)
		require.Equal(b.t, uint64(50), d.FirstFrame)
		require.Equal(b.t, uint64(274), d.LastFrame)
		require.Equal(b.t, timeText(b.store.clock.At(from.Add(2*time.Second))), d.From)
		require.Equal(b.t, timeText(b.store.clock.At(from.Add(7*time.Second))), d.To)
		require.Equal(b.t, b.store.clock.Boot(), d.Boot)
		m, _ := b.manifest(b.clip())
		require.Equal(b.t, uint64(3), m.Sequence, "clips and gaps are one chain")
		require.NotEqual(b.t, first, m.Name)
		b.pass(time.Minute)
		list, _ = b.gapsOnCard()
		require.Len(b.t, list, 1, "it is told once")
	})
}

func TestMissedOfAnUnboundCameraIsNoGap(t *testing.T) {
	inBubble(t, func(b *storeBench) {
		b.store.Missed(clip.Miss{Stream: "main", From: time.Now(), To: time.Now(), Err: errUnbound})
		b.pass(2 * time.Minute)
		require.Empty(b.t, b.names())
	})
}

// R2: what waits to be told survives a cut; so does a failure that goes on.
func TestR2_GapsSurviveACut(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	now := time.Now()
	b.store.Missed(clip.Miss{Stream: "main", From: now, To: now.Add(time.Second), LastFrame: 24, Err: spool.ErrFull})
	b.store.gaps.begin("main", cloud.GapCard, now.Add(2*time.Second))
	b.cut()
	b.start()
	list, _ := b.gapsOnCard()
	require.Len(t, list, 1, "the one that has ended")
	b.clip()
	require.NoError(t, b.store.tend(false))
	b.cut()
	b.start()
	list, details := b.gapsOnCard()
	require.Len(t, list, 2)
	require.NotEqual(t, b.store.clock.Boot(), details[1].Boot)
	require.Zero(t, details[1].LastFrame)
	require.NoError(t, b.store.tend(false))
	b.cut()
	b.start()
	list, _ = b.gapsOnCard()
	require.Len(t, list, 2)
}

// A failure that cost no picture is no gap.
func TestFailureThatCostNothingIsNoGap(t *testing.T) {
	inBubble(t, func(b *storeBench) {
		b.store.gaps.begin("main", cloud.GapCard, time.Now())
		b.clip()
		b.pass(2 * time.Minute)
		require.Len(b.t, b.names(), 1)
	})
}

// R2: a card that is too small gives up the oldest clips that wait; each number
// is told of, many in one record.
func TestR2_ClipsGivenUpAreSignedGaps(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.limit = 60_000
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.start()
		clips := map[uint64]bool{}
		for range 60 {
			m, _ := b.manifest(b.clip())
			clips[m.Sequence] = true
			b.pass(10 * time.Second)
		}
		b.pass(2 * time.Minute)
		list, details := b.gapsOnCard()
		require.NotEmpty(t, list)
		require.Less(t, len(list), 15, "many are told in one record")
		told := map[uint64]bool{}
		for i, g := range list {
			require.Equal(t, cloud.GapRetention, g.Reason)
			require.NotEmpty(t, details[i].From)
			require.LessOrEqual(t, details[i].From, details[i].To)
			for _, s := range g.Missing {
				for n := s.From; n <= s.To; n++ {
					told[n] = true
				}
			}
		}
		for _, name := range b.names() {
			if len(name) == cloud.ClipNameLen {
				m, _ := b.manifest(name)
				require.False(t, told[m.Sequence], "it is here")
				told[m.Sequence] = true
			}
		}
		require.Equal(t, clips, told)
		left, err := b.store.card.Dropped()
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// A number whose clip the card refused in this run is the card's fault, not a cut.
func TestR2_NumberThatTheCardRefused(t *testing.T) {
	inBubble(t, func(b *storeBench) {
		b.clip()
		k := b.create()
		b.fragments(k, 1, 1000)
		require.NoError(b.t, k.sealed.Close())
		_, n, err := b.store.manifest(k.file, k.name, k.head, k.to)
		require.NoError(b.t, err)
		require.NoError(b.t, k.file.Abort())
		b.store.chains.done(n, spool.ErrFull)
		b.pass(cardEvery)
		list, _ := b.gapsOnCard()
		require.Len(b.t, list, 1)
		require.Equal(b.t, cloud.GapCard, list[0].Reason)
		require.Equal(b.t, []cloud.Span{{From: 2, To: 2}}, list[0].Missing)
	})
}

// A card that takes no record does not use up the numbers of the chain.
func TestRecordsThatFailAreNotTriedAllTheTime(t *testing.T) {
	inBubble(t, func(b *storeBench) {
		b.clip()
		b.store.Missed(clip.Miss{Stream: "main", From: time.Now(), To: time.Now(), Err: spool.ErrFull})
		time.Sleep(gapQuiet)
		b.store.card.Close()
		failures := 0
		for range 1000 {
			if b.store.tellGaps() != nil {
				failures++
			}
			time.Sleep(cardEvery)
		}
		require.Greater(b.t, failures, 3)
		_, bindID, _ := b.binding.Binding()
		require.Less(b.t, b.store.chains.heads(bindID)["main"].Sequence, uint64(20))
	})
}

// P12: the owner's off is told as such when it ends, restarts or not.
func TestP12_OffIsASignedGap(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	settings, err := openSettings(b.state(""), "", command.Settings{})
	require.NoError(t, err)
	a := &Agent{cfg: testConfig(t), camera: &camera{settings: settings}, recording: &recording{}, clips: b.store}
	note := func(mode, trigger string) {
		a.clips, a.recording.decider.mode, a.recording.decider.last.Trigger = b.store, mode, trigger
		a.noteOff()
	}
	note(command.RecordOff, "")
	note(command.RecordOff, "")
	b.cut()
	b.start()
	note("", "") // what is wanted is not known yet
	note(command.RecordOff, "")
	list, _ := b.gapsOnCard()
	require.Empty(t, list, "it has not ended")
	note(command.RecordOff, triggerCommand)
	b.cut()
	b.start()
	list, details := b.gapsOnCard()
	require.Len(t, list, 1)
	require.Equal(t, cloud.GapOff, list[0].Reason)
	require.Less(t, details[0].From, details[0].To)
}

func TestGapsThatCannotBeKeptAreTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var said []error
	g := openGaps(dir, "boot", func(t time.Time) time.Time { return t }, func(err error) { said = append(said, err) })
	require.NoError(t, os.RemoveAll(dir))
	g.begin("main", cloud.GapCard, time.Now())
	require.Len(t, said, 1)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(g.path, []byte("{"), 0o600))
	openGaps(dir, "boot", nil, func(err error) { said = append(said, err) })
	require.Len(t, said, 2, "a damaged file stops nothing, and is told")
}

// A clip that can't be created is a failure that began.
func TestR7_FailureToCreateBeginsAGap(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	b.cut()
	_, err := b.store.Create(context.Background(), clip.Start{Stream: "main", Time: time.Now()})
	require.Error(t, err)
	require.False(t, errors.Is(err, errUnbound))
	require.True(t, b.store.gaps.goesOn("main", cloud.GapCard))
	require.NoError(t, b.binding.Unbind())
	_, err = b.store.Create(context.Background(), clip.Start{Stream: "sub", Time: time.Now()})
	require.ErrorIs(t, err, errUnbound)
	require.False(t, b.store.gaps.goesOn("sub", cloud.GapCard))
}
