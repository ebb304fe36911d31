package agent

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
)

// R3: what a power cut left open is closed with what is whole, under a signed
// manifest that says so, and everything closed before is as it was.
func TestR3_CutClipIsClosedWithWhatIsWhole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fragments, size int
		want            int // fragments that are whole
	}{
		"much":             {10, 100 << 10, 9},
		"to a chunk's end": {4, 64 << 10, 3},
		"one chunk":        {1, 100 << 10, 0},
		"nothing whole":    {3, 1000, 0},
		"nothing":          {0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			first := b.clip()
			before := b.read(first + cloud.ExtClip)
			k := b.create()
			plain := b.fragments(k, tt.fragments, tt.size)
			b.cut()

			b.start()
			require.Equal(t, before, b.read(first+cloud.ExtClip))
			require.Empty(t, b.store.card.Unfinished())
			if tt.want == 0 {
				require.Equal(t, []string{first}, b.names())
				return
			}
			require.Equal(t, []string{first, k.name}, b.names())
			m, d := b.manifest(k.name)
			require.Equal(t, uint64(2), m.Sequence)
			require.True(t, d.Cut)
			require.Equal(t, 25*tt.want, d.Frames)
			require.Equal(t, k.head.Details.FirstFrame+uint64(25*tt.want)-1, d.LastFrame)
			require.Equal(t, int64(1000*tt.want), d.DurationMS)
			require.Equal(t, "continuous", d.Trigger)
			require.Equal(t, k.head.Details.Started, d.Started)
			require.Equal(t, k.head.Details.UptimeMS, d.UptimeMS)
			require.Equal(t, k.head.Details.Boot, d.Boot, "of the run that recorded it")
			sealed := b.read(k.name + cloud.ExtClip)
			require.Len(t, sealed, int(m.Size))
			opened, err := seal.Open(bytes.NewReader(sealed), b.secret)
			require.NoError(t, err)
			got, err := io.ReadAll(opened)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.GreaterOrEqual(t, len(got), tt.want*tt.size)
			require.Equal(t, plain[:len(got)], got)
			require.Empty(t, codes(b.store.health))
		})
	}
}

// What the card shows beyond what was synced may be anything.
func TestR3_NothingBeyondTheLastNoteIsBelieved(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	b.fragments(k, 4, 100<<10)
	b.cut()
	f, err := os.OpenFile(filepath.Join(b.cardDir(), "open", k.name+cloud.ExtClip+".part"), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 300<<10)) // as some file systems do
	require.NoError(t, err)
	require.NoError(t, f.Close())
	b.start()
	m, d := b.manifest(k.name)
	require.Equal(t, 75, d.Frames)
	require.Less(t, m.Size, int64(400<<10))
}

// A clip of an earlier owner, or without a usable journal, is not closed.
func TestR3_CutClipsThatAreRemoved(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(b *storeBench, u *spool.Unfinished){
		"another binding": func(b *storeBench, u *spool.Unfinished) { b.again() },
		"no journal": func(b *storeBench, u *spool.Unfinished) {
			require.NoError(b.t, os.Remove(filepath.Join(b.cardDir(), "open", u.Name+".notes")))
		},
		"no age file": func(b *storeBench, u *spool.Unfinished) {
			path := filepath.Join(b.cardDir(), "open", u.Name+cloud.ExtClip+".part")
			require.NoError(b.t, os.WriteFile(path, make([]byte, 300<<10), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			k := b.create()
			b.fragments(k, 4, 100<<10)
			b.cut()
			spoil(b, &spool.Unfinished{Name: k.name})
			b.start()
			require.Empty(t, b.names())
			require.Empty(t, b.store.card.Unfinished())
			left, err := os.ReadDir(filepath.Join(b.cardDir(), "open"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// A cut between signature and card: the number is told of as cut, and the
// footage is there under the next one.
func TestR2_NumberThatACutTookIsToldOf(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	b.clip()
	k := b.create()
	b.fragments(k, 4, 100<<10)
	require.NoError(t, k.sealed.Close())
	require.NoError(t, k.file.Sync())
	_, lost, err := b.store.manifest(k.file, k.name, k.head, k.to)
	require.NoError(t, err)
	b.cut()

	b.start()
	m, d := b.manifest(k.name)
	require.Equal(t, uint64(3), m.Sequence)
	require.True(t, d.Cut)
	list, details := b.gapsOnCard()
	require.Len(t, list, 1)
	require.Equal(t, cloud.GapCut, list[0].Reason)
	require.Equal(t, []cloud.Span{{From: 2, To: 2}}, list[0].Missing)
	require.Equal(t, uint64(4), list[0].Sequence)
	require.Equal(t, "main", list[0].Stream)
	require.Equal(t, lost.Name, k.name)
	require.NotEmpty(t, details[0].From)

	b.cut()
	b.start()
	list, _ = b.gapsOnCard()
	require.Len(t, list, 1, "it is told once")
}

// The journal holds no more than a manifest does, and fits its limit for a long event id.
func TestP5_JournalHoldsNoSecret(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	b.fragments(k, 1, 1000)
	b.cut()
	b.open()
	left := b.store.card.Unfinished()
	require.Len(t, left, 1)
	require.Len(t, left[0].Notes, 2)
	var head, note map[string]any
	require.NoError(t, json.Unmarshal(left[0].Notes[0][65:], &head))
	require.ElementsMatch(t, []string{"v", "serial", "epoch", "bind_id", "stream", "details"}, keys(head))
	require.NoError(t, json.Unmarshal(left[0].Notes[1][65:], &note))
	require.ElementsMatch(t, []string{"frames", "last", "ms", "plain", "size", "trigger"}, keys(note))
}

func keys(m map[string]any) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}
