package spool

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// opened counts what is read of clips.
type opened struct {
	FS
	clips atomic.Int32
}

func (o *opened) Open(path string) (io.ReadSeekCloser, error) {
	if strings.HasSuffix(path, extClip) {
		o.clips.Add(1)
	}
	return o.FS.Open(path)
}

func statementOf(name string, data []byte) []byte {
	sum := sha256.Sum256(data)
	raw, _ := json.Marshal(cloud.Manifest{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
	return []byte("e30." + base64.RawURLEncoding.EncodeToString(raw) + ".c2ln")
}

// A clip found at start is not read to be hashed if its manifest tells the hash.
func TestR8_HashOfAFoundClipIsItsManifests(t *testing.T) {
	t.Parallel()
	data := []byte("sealed footage")
	for name, c := range map[string]struct {
		manifest []byte
		reads    int32
	}{
		"as signed":      {statementOf(nameAt(0), data), 0},
		"of another one": {statementOf(nameAt(1), data), 1},
		"other size":     {statementOf(nameAt(0), data[1:]), 1},
		"no manifest":    {[]byte("x"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := openTemp(t, Config{})
			f, err := s.Create(nameAt(0))
			require.NoError(t, err)
			_, err = f.Write(data)
			require.NoError(t, err)
			_, err = f.Commit(Routine, c.manifest)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			count := &opened{FS: osFS{dir}}
			s, err = Open(dir, Config{FS: count})
			require.NoError(t, err)
			t.Cleanup(func() { s.Close() })
			before := count.clips.Load()
			o, err := s.Next(context.Background())
			require.NoError(t, err)
			require.Equal(t, [][32]byte{sha256.Sum256(data), sha256.Sum256(c.manifest)}, [][32]byte{o.Parts[0].SHA256, o.Parts[1].SHA256})
			require.Equal(t, c.reads, count.clips.Load()-before)
		})
	}
}

func FuzzSignedSum(f *testing.F) {
	f.Add(statementOf(nameAt(0), []byte("x")), int64(1))
	f.Add([]byte("a.e30.b"), int64(0))
	f.Fuzz(func(t *testing.T, manifest []byte, size int64) {
		if sum, ok := signedSum(manifest, nameAt(0), size); ok && sum == [32]byte{} && !strings.Contains(string(manifest), ".") {
			t.Fatal("taken")
		}
	})
}
