package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// cutSample is an age file of three full chunks and somewhat more, to several members.
func cutSample(t testing.TB, members int) (secret cloud.Secret, plain, sealed []byte) {
	t.Helper()
	var texts []string
	for range members {
		s, to, err := NewIdentity()
		require.NoError(t, err)
		secret, texts = s, append(texts, to)
	}
	r, err := ParseRecipients(texts)
	require.NoError(t, err)
	plain = make([]byte, 3*chunkPlain+1000)
	rand.Read(plain)
	sealed, err = Bytes(plain, r)
	require.NoError(t, err)
	return secret, plain, sealed
}

// R3: wherever a power cut ends a file, what Whole leaves opens up to its last
// byte, and no whole chunk is given away.
func TestR3_WholeOfEveryCut(t *testing.T) {
	t.Parallel()
	for _, members := range []int{1, 40} {
		secret, plain, sealed := cutSample(t, members)
		begin := len(sealed) - len(plain) - 4*16
		cuts := []int{0, 1, 21, 22, 23, begin - 17, begin - 1, begin, begin + 1, len(sealed) - 1, len(sealed)}
		for n := range 4 {
			cuts = append(cuts, begin+n*chunkSize-1, begin+n*chunkSize, begin+n*chunkSize+1)
		}
		for _, cut := range cuts {
			size, held, err := Whole(bytes.NewReader(sealed[:cut]))
			require.NoError(t, err, "cut at %d", cut)
			want := max(0, cut-begin) / chunkSize
			require.Equal(t, int64(want)*chunkPlain, held, "cut at %d", cut)
			if want == 0 {
				require.Zero(t, size, "cut at %d", cut)
				continue
			}
			require.Equal(t, int64(begin+want*chunkSize), size, "cut at %d", cut)
			opened, err := Open(bytes.NewReader(sealed[:size]), secret)
			require.NoError(t, err)
			got, err := io.ReadAll(opened)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the missing end is told")
			require.True(t, bytes.Equal(plain[:held], got), "cut at %d", cut)
		}
	}
}

func TestWholeOfOtherFiles(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"zeros":       make([]byte, 200<<10),
		"a film":      []byte("\x00\x00\x00\x20ftypiso5\n"),
		"no end":      append([]byte(ageIntro), bytes.Repeat([]byte("-> X25519 abc\n"), 10_000)...),
		"a long line": append([]byte(ageIntro), bytes.Repeat([]byte("x"), 10_000)...),
		"next":        []byte("age-encryption.org/v2\n"),
	} {
		_, _, err := Whole(bytes.NewReader(b))
		require.ErrorIs(t, err, ErrNotSealed, name)
	}
	_, _, err := Whole(brokenFile{})
	require.ErrorIs(t, err, errFull)
}

type brokenFile struct{}

func (brokenFile) Read([]byte) (int, error)       { return 0, errFull }
func (brokenFile) Seek(int64, int) (int64, error) { return 0, nil }

func FuzzS5_Whole(f *testing.F) {
	_, _, sealed := cutSample(f, 2)
	f.Add(sealed)
	f.Add(sealed[:100])
	f.Add([]byte(ageIntro + "--- x\n"))
	f.Add([]byte("--- "))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, plain, err := Whole(bytes.NewReader(b))
		switch {
		case err != nil:
			require.True(t, errors.Is(err, ErrNotSealed))
			require.Zero(t, size+plain)
		case size == 0:
			require.Zero(t, plain)
		default:
			require.LessOrEqual(t, size, int64(len(b)))
			require.Zero(t, plain%chunkPlain)
			require.Less(t, int64(len(b))-size, int64(chunkSize), "a whole chunk is given away")
			again, same, err := Whole(bytes.NewReader(b[:size]))
			require.NoError(t, err)
			require.Equal(t, []int64{size, plain}, []int64{again, same})
		}
	})
}
