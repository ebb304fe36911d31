package rtsp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// audienceEnv makes the test's program an audience that takes frames of so many
// bytes, all connections together.
const audienceEnv = "RTSP_TEST_AUDIENCE"

// audience reads connections in a process of its own, so that its time is not
// taken for the server's.
type audience struct {
	t    testing.TB
	told *os.File
	b    [1]byte
}

// socket is a *net.TCPConn or a *net.UDPConn.
type socket interface {
	io.Closer
	File() (*os.File, error)
}

// newAudience takes the sockets over; each is to get frames of size bytes.
func newAudience(t testing.TB, conns []socket, size int) *audience {
	t.Helper()
	told, tell, err := os.Pipe()
	require.NoError(t, err)
	var said bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", audienceEnv, size*len(conns)))
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.ExtraFiles = []*os.File{tell}
	for _, c := range conns {
		f, err := c.File()
		require.NoError(t, err)
		require.NoError(t, c.Close())
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	require.NoError(t, cmd.Start())
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		told.Close()
		if said.Len() > 0 {
			t.Errorf("audience: %s", said.Bytes())
		}
	})
	return &audience{t: t, told: told}
}

// wait returns when every connection has got one more frame.
func (a *audience) wait() {
	if _, err := a.told.Read(a.b[:]); err != nil {
		a.t.Fatal("the audience has gone: ", err)
	}
}

// beAudience is the other process: it ends with its parent or by being killed.
func beAudience() {
	size, err := strconv.ParseInt(os.Getenv(audienceEnv), 10, 64)
	if err != nil {
		return
	}
	tell := os.NewFile(3, "tell")
	var got atomic.Int64
	for fd := uintptr(4); ; fd++ {
		f := os.NewFile(fd, "viewer")
		c, err := net.FileConn(f)
		if err != nil {
			break
		}
		f.Close()
		go func() {
			for buf := make([]byte, 64<<10); ; {
				n, err := c.Read(buf)
				if got.Add(int64(n))%size == 0 && n > 0 {
					_, _ = tell.Write(buf[:1])
				}
				if err != nil {
					os.Exit(0)
				}
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // /dev/null
	select {}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
