package seal

import (
	"crypto/rand"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"
)

// clipBytes is a large clip; pieceBytes what the recorder writes at once.
const (
	clipBytes  = 4 << 20
	pieceBytes = 128 << 10
)

func benchRecipients(t testing.TB) Recipients {
	t.Helper()
	_, to, err := NewIdentity()
	require.NoError(t, err)
	r, err := ParseRecipients([]string{to})
	require.NoError(t, err)
	return r
}

// pieces writes plain as the recorder does, and the end.
func pieces(s io.WriteCloser, plain []byte) error {
	for ; len(plain) > 0; plain = plain[min(pieceBytes, len(plain)):] {
		if _, err := s.Write(plain[:min(pieceBytes, len(plain))]); err != nil {
			return err
		}
	}
	return s.Close()
}

// BenchmarkSeal4MiB is a clip sealed as the camera does, in turns with the
// cipher alone, so that both meet the same machine: at least 80 % of its speed.
// The agreement of keys at a clip's begin, which does not depend on its length, is told apart.
func BenchmarkSeal4MiB(b *testing.B) {
	plain := make([]byte, clipBytes)
	rand.Read(plain)
	r := benchRecipients(b)
	a, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	require.NoError(b, err)
	out, nonce := make([]byte, 0, clipBytes+a.Overhead()), make([]byte, a.NonceSize())
	var keys, sealing, alone []time.Duration
	for b.Loop() {
		begin := time.Now()
		s, err := NewWriter(io.Discard, r)
		require.NoError(b, err)
		keys = append(keys, time.Since(begin))
		begin = time.Now()
		require.NoError(b, pieces(s, plain))
		sealing = append(sealing, time.Since(begin))
		begin = time.Now()
		a.Seal(out, nonce, plain, nil)
		alone = append(alone, time.Since(begin))
	}
	first, ours, theirs := median(keys).Seconds(), median(sealing).Seconds(), median(alone).Seconds()
	b.ReportMetric(100*theirs/ours, "%-of-bare")
	b.ReportMetric(100*theirs/(first+ours), "%-of-bare-with-keys")
	b.ReportMetric(clipBytes/ours/1e6, "MB/s")
	b.ReportMetric(clipBytes/theirs/1e6, "bare-MB/s")
	// 4 Mbit/s is half a megabyte a second.
	b.ReportMetric(100*(first+ours)/clipBytes*500_000, "%-of-a-core-at-4Mbit/s")
}

// median is not moved by what else the machine does now and then.
func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
