package upload

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// oneObject is a card with one object that waits.
type oneObject struct{ lent chan spool.Object }

func newOneObject() *oneObject {
	c := &oneObject{make(chan spool.Object, 1)}
	c.lent <- spool.Object{Name: "20260102T030405.000Z-abcdefgh.jpg.age", Lane: spool.Routine, Parts: []spool.Part{{Name: "20260102T030405.000Z-abcdefgh.jpg.age", Size: 1}}}
	return c
}

func (c *oneObject) Next(ctx context.Context) (spool.Object, error) {
	select {
	case o := <-c.lent:
		return o, nil
	case <-ctx.Done():
		return spool.Object{}, ctx.Err()
	}
}
func (c *oneObject) Return(o spool.Object, _ time.Duration) { c.lent <- o }
func (c *oneObject) Release(spool.Object) error             { return nil }
func (c *oneObject) Pending(string) bool                    { return true }
func (c *oneObject) Stats() spool.Stats                     { return spool.Stats{Pending: 1} }
func (c *oneObject) Open(string) (io.ReadSeekCloser, error) {
	return card{bytes.NewReader([]byte("x"))}, nil
}

type card struct{ *bytes.Reader }

func (card) Close() error { return nil }

// 2,000 cameras lose their store at the same moment, and come back to it
// whenever it is back: by then they are spread out.
func TestR8_NoStormOf2000Cameras(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const cameras = 2000
		began := time.Now()
		var mu sync.Mutex
		attempts := map[int]int{} // by second
		dial := func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			attempts[int(time.Since(began)/time.Second)]++
			return nil, errors.New("connection refused")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range cameras {
			u, err := New(Config{
				Spool: newOneObject(), Hosts: []string{"s3.example"}, Roots: x509.NewCertPool(), Serial: serial, dial: dial,
				Prefix: func() (string, bool) { return bindID, true },
				Ask: func(_ context.Context, _ string, body, answer any) error {
					q, g := body.(cloud.GrantRequest), answer.(*cloud.Grant)
					url := "https://s3.example/" + q.Key
					g.Put = cloud.Request{Method: "PUT", URL: url, Headers: map[string]string{
						"If-None-Match": "*", headerSHA256: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}
					g.Head = cloud.Request{Method: "HEAD", URL: url}
					return nil
				},
			})
			require.NoError(t, err)
			all.Go(func() { u.Run(ctx) })
		}
		time.Sleep(15 * time.Minute)
		cancel()
		all.Wait()
		for _, after := range []struct{ minutes, most int }{{0, 4 * cameras}, {1, 150}, {10, 60}} {
			most := 0
			for s := after.minutes * 60; s < 900; s++ {
				most = max(most, attempts[s])
			}
			t.Logf("%d cameras, store away for %d min and more: at most %d attempts a second", cameras, after.minutes, most)
			require.LessOrEqual(t, most, after.most)
		}
	})
}
