package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// openPath is where a clip that is being written lies.
func (b *storeBench) openPath(name, ext string) string {
	return filepath.Join(b.cardDir(), "open", name+ext)
}

const extPart, extNotes = cloud.ExtClip + ".part", ".notes"

// journalLine is a line as the card takes it.
func journalLine(note []byte) []byte {
	sum := crc32.Checksum(note, crc32.MakeTable(crc32.Castagnoli))
	return fmt.Appendf(nil, "%s %s\n", hex.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)), note)
}

// forger is who has had the card, and knows what lies on it.
type forger struct {
	b    *storeBench
	cut  string // a genuine clip that was being written
	name string // what is looked at afterwards
	old  []byte // a genuine clip that was closed
	m    cloud.Manifest
}

func (f *forger) lines() [][]byte {
	f.b.t.Helper()
	data, err := os.ReadFile(f.b.openPath(f.cut, extNotes))
	require.NoError(f.b.t, err)
	var out [][]byte
	for line := range bytes.Lines(data) {
		out = append(out, bytes.TrimSuffix(line[9:], []byte("\n")))
	}
	return out
}

func (f *forger) write(name string, notes [][]byte, part []byte) {
	f.b.t.Helper()
	var all []byte
	for _, n := range notes {
		all = append(all, journalLine(n)...)
	}
	require.NoError(f.b.t, os.WriteFile(f.b.openPath(name, extNotes), all, 0o600))
	require.NoError(f.b.t, os.WriteFile(f.b.openPath(name, extPart), part, 0o600))
}

func (f *forger) part() []byte {
	f.b.t.Helper()
	part, err := os.ReadFile(f.b.openPath(f.cut, extPart))
	require.NoError(f.b.t, err)
	return part
}

// S10, R3: who has had the card can't have the camera sign what it has not filmed:
// what its key does not vouch for stays, is not signed, and is told.
func TestS10_R3_ForgedOpenClipIsNotSigned(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(f *forger){
		"an old clip as a new one, in plain lines": func(f *forger) {
			head, _ := json.Marshal(clipHead{Statement: f.m.Statement, Stream: "main", Details: cloud.ClipDetails{FirstFrame: 5000}})
			note, _ := json.Marshal(clipNote{Frames: 250, Last: 5249, MS: 10000, Plain: 1 << 20, Size: int64(len(f.old)), End: true})
			f.name = cloud.ClipName(time.Now().Add(time.Hour))
			f.write(f.name, [][]byte{head, note}, f.old)
		},
		"and with codes of another clip": func(f *forger) {
			lines := f.lines()
			head, _ := json.Marshal(clipHead{Statement: f.m.Statement, Stream: "main", Details: cloud.ClipDetails{FirstFrame: 5000}})
			note, _ := json.Marshal(clipNote{Frames: 250, Last: 5249, MS: 10000, Plain: 1 << 20, Size: int64(len(f.old)), End: true})
			f.name = cloud.ClipName(time.Now().Add(time.Hour))
			f.write(f.name, [][]byte{append(lines[0][:65:65], head...), append(lines[1][:65:65], note...)}, f.old)
		},
		"a cut clip by another name": func(f *forger) {
			f.name = cloud.ClipName(time.Now().Add(time.Hour))
			f.write(f.name, f.lines(), f.part())
		},
		"a changed head": func(f *forger) {
			lines := f.lines()
			lines[0] = bytes.Replace(lines[0], []byte(`"first_frame":`), []byte(`"first_frame":9`), 1)
			f.write(f.cut, lines, f.part())
		},
		"no head": func(f *forger) { f.write(f.cut, f.lines()[1:], f.part()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			k := b.create()
			b.fragments(k, 10, 100<<10)
			require.NoError(t, k.Close(b.info(250)))
			f := &forger{b: b, old: b.read(k.name + cloud.ExtClip)}
			f.m, _ = b.manifest(k.name)
			b.frame += 250
			open := b.create()
			b.fragments(open, 10, 100<<10)
			f.cut, f.name = open.name, open.name
			b.cut()
			forge(f)

			b.start()
			require.NotContains(t, b.names(), f.name)
			require.FileExists(t, b.openPath(f.name, extPart))
			require.ErrorContains(t, b.store.foreign(), "1 cut clips in open/ that nothing shows to be this camera's")
			require.NoError(t, b.store.recover(true))
			require.NotContains(t, b.names(), f.name)
		})
	}
}

// S10, R3: of a genuine clip only what was noted so, and lies in the file so, is signed.
func TestS10_R3_OnlyTrueNotesOfACutClipAreSigned(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		forge func(f *forger)
		want  int // fragments; 0: it is removed
	}{
		"as it was": {func(*forger) {}, 9},
		"another trigger": {func(f *forger) {
			lines := f.lines()
			lines[6] = bytes.Replace(lines[6], []byte("continuous"), []byte("motion"), 1)
			f.write(f.cut, lines, f.part())
		}, 4},
		"a note is left out": {func(f *forger) {
			lines := f.lines()
			f.write(f.cut, append(lines[:5:5], lines[6:]...), f.part())
		}, 3},
		"a note of a large file": {func(f *forger) {
			lines := f.lines()
			lines[6] = bytes.Replace(lines[6], []byte(`"size":`), []byte(`"size":99999`), 1)
			f.write(f.cut, lines, f.part())
			require.NoError(f.b.t, os.Truncate(f.b.openPath(f.cut, extPart), 1<<40))
		}, 4},
		"one bit of the file": {func(f *forger) {
			part := f.part()
			part[550<<10] ^= 1
			f.write(f.cut, f.lines(), part)
		}, 4},
		"another clip's bytes": {func(f *forger) { f.write(f.cut, f.lines(), f.old) }, 0},
		"its end is gone":      {func(f *forger) { f.write(f.cut, f.lines(), f.part()[:550<<10]) }, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStoreBench(t)
			b.start()
			k := b.create()
			b.fragments(k, 10, 100<<10)
			require.NoError(t, k.Close(b.info(250)))
			f := &forger{b: b, old: b.read(k.name + cloud.ExtClip)}
			open := b.create()
			b.fragments(open, 10, 100<<10)
			f.cut = open.name
			was := f.part()
			b.cut()
			tt.forge(f)

			b.start()
			require.NoError(t, b.store.foreign())
			require.NoFileExists(t, b.openPath(f.cut, extPart))
			if tt.want == 0 {
				require.NotContains(t, b.names(), f.cut)
				return
			}
			m, d := b.manifest(f.cut)
			require.Equal(t, 25*tt.want, d.Frames)
			require.Equal(t, "continuous", d.Trigger)
			require.True(t, bytes.HasPrefix(was, b.read(f.cut+cloud.ExtClip)), "what was filmed")
			require.Len(t, b.read(f.cut+cloud.ExtClip), int(m.Size))
		})
	}
}

// S10, R3: any number of strange clips in open/ keeps none of ours from being closed, and all are counted.
func TestS10_R3_ManyStrangeClipsHinderNoneOfOurs(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	b.fragments(k, 3, 100<<10)
	f := &forger{b: b, cut: k.name}
	lines, early := f.lines(), time.Now().Add(-time.Hour)
	b.cut()
	for i := range 300 {
		f.write(cloud.ClipName(early.Add(time.Duration(i)*time.Second)), lines[:2], nil)
	}
	b.start()
	for range 3 { // as the card is looked at
		require.ErrorContains(t, b.store.foreign(), "cut clips in open/")
		require.NoError(t, b.store.recover(false))
	}
	require.ErrorContains(t, b.store.foreign(), "the card holds 300 cut clips")
	require.Equal(t, []string{k.name}, b.names())
}

// R3: a cut while a cut clip is closed costs nothing more.
func TestR3_CutClipIsTrimmedOnce(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	k := b.create()
	b.fragments(k, 10, 100<<10)
	b.cut()
	b.open()
	u := b.store.card.Unfinished()
	_, _, size, _, err := b.store.whole(u[0])
	require.NoError(t, err)
	_, err = b.store.card.Finish(k.name, size)
	require.NoError(t, err)
	b.cut()
	b.start()
	_, d := b.manifest(k.name)
	require.Equal(t, 25*9, d.Frames)
}

// S10: the key is the binding's: made with it, for its owner's eyes, gone with it.
func TestS10_JournalKeyEndsWithTheBinding(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	path := b.state("journal.json")
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	b.cut()
	b.start()
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, again)

	require.NoError(t, b.binding.Unbind())
	b.store.rebind()
	require.NoFileExists(t, path)
	_, err = b.store.key.of("", "x")
	require.ErrorIs(t, err, errRebound)
	b.cut()
	b.bind()
	b.start()
	next, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, first, next)
	b.clip()

	b.cut()
	require.NoError(t, os.WriteFile(path, []byte(`{"bind_id":"x","key":"AA=="}`), 0o600))
	b.start() // a damaged one is made anew
	b.clip()
}
