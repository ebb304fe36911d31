package link

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/clock"
)

// relay is another address of a broker; it counts who comes by it.
type relay struct {
	net.Listener
	came atomic.Int32
}

func startRelay(t *testing.T, broker string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.came.Add(1)
			all.Go(func() { carry(conn, broker) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return r
}

func carry(conn net.Conn, to string) {
	defer conn.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { io.Copy(conn, out); conn.Close() })
	io.Copy(out, conn)
	out.Close()
	back.Wait()
}

func TestP10_LinkMovesToTheBrokerThatIsChosen(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	a, b := startRelay(t, m.devices), startRelay(t, m.devices)
	var chosen atomic.Pointer[relay]
	chosen.Store(a)
	changes := make(chan error, 10)
	d, _ := runDevice(t, DeviceConfig{TLS: m.deviceTLS(t, camera), Serial: camera, OnChange: func(err error) { changes <- err },
		Choose: func(context.Context) string { return chosen.Load().Addr().String() }})
	require.NoError(t, <-changes)
	require.EqualValues(t, 1, a.came.Load())
	require.Zero(t, b.came.Load())
	chosen.Store(b)
	d.Move()
	require.NoError(t, <-changes, "to move is no failure")
	require.EqualValues(t, 1, a.came.Load())
	require.EqualValues(t, 1, b.came.Load())
	require.EqualValues(t, 2, d.Stats().Connects)

	_, err := NewDevice(DeviceConfig{TLS: nil, Serial: camera, Choose: func(context.Context) string { return "" }})
	require.Error(t, err, "certificates are checked wherever it goes")
}

// unset is a clock that nobody has set.
type unset struct{ clock.System }

func (unset) Wall() time.Time               { return time.Unix(0, 0) }
func (unset) Synced() (bool, time.Duration) { return false, 0 }

func TestS9_CameraWithoutAClockMeetsItsBroker(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	dir := t.TempDir()
	k, err := clock.OpenWith(dir, time.Now().AddDate(-1, 0, 0), unset{})
	require.NoError(t, err)
	secure := k.Secure(m.deviceTLS(t, camera))
	changes := make(chan error, 10)
	runDevice(t, DeviceConfig{Broker: m.devices, TLS: secure, Serial: camera, OnChange: func(err error) {
		k.Heed(err, secure.RootCAs)
		changes <- err
	}})
	require.ErrorIs(t, <-changes, ErrUntrusted, "checks are on: the broker's certificate begins a year after all that is known")
	require.NoError(t, <-changes)
	require.WithinDuration(t, m.server.cert.NotBefore, k.Now(), time.Minute)
	require.False(t, k.Trust().Synced)

	k, err = clock.OpenWith(t.TempDir(), time.Now().AddDate(-1, 0, 0), unset{})
	require.NoError(t, err)
	stranger := m.deviceTLS(t, camera)
	stranger.RootCAs = newAuthority(t).pool()
	changes = make(chan error, 10)
	runDevice(t, DeviceConfig{Broker: m.devices, TLS: k.Secure(stranger), Serial: camera, OnChange: func(err error) {
		k.Heed(err, stranger.RootCAs)
		changes <- err
	}})
	for range 2 {
		require.ErrorIs(t, <-changes, ErrUntrusted)
	}
	require.Greater(t, time.Since(k.Now()), 360*24*time.Hour, "a stranger moves nothing")
}
