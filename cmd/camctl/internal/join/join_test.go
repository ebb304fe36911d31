package join_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cmd/camctl/internal/join"
	"iid2secure.nl/camagent/cmd/camctl/internal/join/jointest"
)

func opened(t testing.TB, b []byte) *join.Clip {
	t.Helper()
	c, err := join.Open(bytes.NewReader(b))
	require.NoError(t, err)
	return c
}

// one is what a film holds of a track, by mediacommon's own reader.
type run struct{ base, end uint64 }

func runs(t *testing.T, film []byte, id int) (list []run, sequence []uint32) {
	t.Helper()
	var parts fmp4.Parts
	require.NoError(t, parts.Unmarshal(film))
	for _, p := range parts {
		sequence = append(sequence, p.SequenceNumber)
		for _, tr := range p.Tracks {
			if tr.ID == id {
				r := run{tr.BaseTime, tr.BaseTime}
				for _, s := range tr.Samples {
					r.end += uint64(s.Duration)
				}
				list = append(list, r)
			}
		}
	}
	return list, sequence
}

// Pictures and sound of consecutive clips go on where the last clip ended; every
// picture is there, and a player has nothing to say.
func TestM10_ConsecutiveClipsBecomeOneFilm(t *testing.T) {
	t.Parallel()
	for name, sound := range map[string]bool{"picture": false, "picture and sound": true} {
		var out bytes.Buffer
		film := join.New(&out)
		pictures := 0
		for _, c := range []struct{ from, seconds int }{{0, 4}, {0, 2}, {2, 1}, {3, 1}} {
			k := opened(t, jointest.Clip(t, c.from, c.seconds, "", sound))
			require.True(t, film.Fits(k))
			info, err := film.Add(k, 0)
			require.NoError(t, err)
			require.Equal(t, join.Info{Frames: c.seconds * jointest.GOP, Duration: time.Duration(c.seconds) * time.Second}, info)
			pictures += info.Frames
		}
		require.Equal(t, join.Info{Frames: pictures, Duration: 8 * time.Second}, film.Info())
		require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("moov")), name)

		list, sequence := runs(t, out.Bytes(), 1)
		for i, r := range list {
			require.EqualValues(t, i+1, sequence[i])
			require.EqualValues(t, i*90000, r.base, name)
		}
		list, _ = runs(t, out.Bytes(), 2)
		for i, r := range list {
			require.InDelta(t, i*8000, r.base, 10) // in step, however many clips
			if i > 0 {
				require.GreaterOrEqual(t, r.base, list[i-1].end)
			}
		}
		path := filepath.Join(t.TempDir(), "film.mp4")
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
		seen := jointest.Look(t, path)
		require.Equal(t, pictures, seen.Pictures, name)
		require.InDelta(t, 8, seen.Seconds, 0.001)
		if sound {
			require.Equal(t, pictures, seen.Sounds)
		}
	}
}

// A few pictures that are missing leave their time free.
func TestM10_HolesKeepTheirTime(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	film := join.New(&out)
	for _, after := range []time.Duration{0, 200 * time.Millisecond} {
		_, err := film.Add(opened(t, jointest.Clip(t, 0, 1, "", true)), after)
		require.NoError(t, err)
	}
	list, _ := runs(t, out.Bytes(), 1)
	require.Equal(t, []run{{0, 90000}, {108000, 198000}}, list)
	require.Equal(t, 2200*time.Millisecond, film.Info().Duration)
	list, _ = runs(t, out.Bytes(), 2)
	require.Equal(t, []run{{7, 8007}, {9607, 17607}}, list)
}

func TestM10_AnotherPictureOrSoundDoesNotFit(t *testing.T) {
	t.Parallel()
	film := join.New(io.Discard)
	_, err := film.Add(opened(t, jointest.Clip(t, 0, 1, "", true)), 0)
	require.NoError(t, err)
	require.True(t, film.Fits(opened(t, jointest.Clip(t, 1, 1, "", true))))
	require.False(t, film.Fits(opened(t, jointest.Clip(t, 0, 1, "160x96", true))))
	require.False(t, film.Fits(opened(t, jointest.Clip(t, 0, 1, "", false))))
}

// Of a clip whose end a power cut took the whole fragments are in the film; the
// next clip goes on behind them.
func TestR3_M10_CutClipIsJoinedAsFarAsItIsWhole(t *testing.T) {
	t.Parallel()
	whole := jointest.Clip(t, 0, 3, "", true)
	last := bytes.LastIndex(whole, []byte("moof"))
	for _, end := range []int{last - 4, last - 2, last + 40, len(whole) - 1, len(whole)} {
		var out bytes.Buffer
		film := join.New(&out)
		k := opened(t, whole[:end])
		k.Cut = true
		info, err := film.Add(k, 0)
		require.NoError(t, err)
		want := 2 * jointest.GOP
		if end == len(whole) {
			want += jointest.GOP
		}
		require.Equal(t, want, info.Frames)
		_, err = film.Add(opened(t, whole), time.Second)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "film.mp4")
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
		require.Equal(t, want+3*jointest.GOP, jointest.Look(t, path).Pictures)
	}
}

func TestM10_S4_WhatIsNoClipIsRefused(t *testing.T) {
	t.Parallel()
	whole := jointest.Clip(t, 0, 1, "", true)
	moof := bytes.Index(whole, []byte("moof"))
	tfdt := bytes.Index(whole, []byte("tfdt"))
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(whole)
		copy(c[at:], b)
		return c
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "half a head": whole[:4], "no moov": whole[:30], "half a moov": whole[:200], "no fragment first": whole[moof-4:],
		"half a moof": whole[:moof+40], "half an mdat": whole[:len(whole)-1], "endless box": change(moof-4, 0xff, 0xff, 0xff, 0xff),
		"empty box": change(moof-4, 0, 0, 0, 7), "a stranger's track": change(bytes.Index(whole, []byte("tfhd"))+8, 0, 0, 0, 9),
		"a time beyond measure": change(tfdt+8, 0xff, 0xff, 0xff, 0xff), "data by place": change(bytes.Index(whole, []byte("tfhd"))+7, 1),
		"too many samples": change(bytes.Index(whole, []byte("trun"))+8, 0xff, 0xff, 0xff, 0xff),
		"data alone":       append(bytes.Clone(whole[:moof-4]), 0, 0, 0, 8, 'm', 'd', 'a', 't'),
		"a second moov":    append(bytes.Clone(whole), whole[:moof-4]...),
	} {
		c, err := join.Open(bytes.NewReader(b))
		if err == nil {
			_, err = join.New(io.Discard).Add(c, 0)
		}
		require.ErrorContains(t, err, "not a clip's MP4: ", name)
	}
}

var errFull = errors.New("no space left on device")

type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestFullDiskIsNoBadClip(t *testing.T) {
	t.Parallel()
	b := jointest.Clip(t, 0, 1, "", true)
	for room := 0; room < len(b); room += 97 {
		_, err := join.New(&full{room}).Add(opened(t, b), 0)
		require.ErrorIs(t, err, errFull)
		require.NotContains(t, err.Error(), "MP4")
	}
}

// S5: whatever is in the bytes, there is an end, and nothing is made of nothing.
func FuzzAdd(f *testing.F) {
	for _, sound := range []bool{true, false} { // without its pictures, which are copied only
		b := jointest.Clip(f, 0, 1, "", sound)
		b = append(b[:bytes.Index(b, []byte("mdat"))-4], "\x00\x00\x00\x08mdat"...)
		f.Add(b, int64(0))
		f.Add(b, int64(math.MaxInt64))
	}
	f.Add([]byte("\x00\x00\x00\x01moov\x00\x00\x00\x00\x00\x00\x00\x10"), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, after int64) {
		var out bytes.Buffer
		film := join.New(&out)
		for range 2 {
			c, err := join.Open(bytes.NewReader(b))
			if err != nil {
				return
			}
			if !film.Fits(c) {
				t.Fatal("a clip does not fit itself")
			}
			if _, err := film.Add(c, time.Duration(after)); err != nil {
				return
			}
			if i := film.Info(); i.Frames < 0 || i.Duration < 0 {
				t.Fatalf("%+v", i)
			}
		}
		if out.Len() > 2*len(b) {
			t.Fatalf("%d bytes of %d", out.Len(), len(b))
		}
	})
}
