//go:build linux

package remote

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/cloud/local"
)

const inside = "CAMAGENT_TEST_NAMESPACE"

// onACable runs the test that calls it once more, in a network namespace of its
// own, so that no multicast gets out of it: at one end of a cable, whose other end
// is in a second namespace. It returns that one there, and nil outside.
func onACable(t *testing.T, addresses ...[2]string) *space {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		s := newSpace(t)
		ip(t, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", fmt.Sprint(s.tid))
		for _, a := range addresses {
			configure(t, a[0])
			s.do(func() { configure(t, a[1]) })
		}
		return s
	}
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	c.Env = append(os.Environ(), inside+"="+t.Name())
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("in a network namespace of its own: %v\n%s", err, out)
	}
	return nil
}

func configure(t *testing.T, address string) {
	t.Helper()
	ip(t, "link", "set", "dev", "cable", "addrgenmode", "none")
	ip(t, "address", "add", address, "dev", "cable", "nodad")
	ip(t, "link", "set", "dev", "cable", "up")
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal("this test needs the program ip: install the Debian package iproute2")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "ip %v\n%s", args, out)
}

// space is a network namespace, held by a thread in it.
type space struct {
	tid  int
	work chan func()
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	ready := make(chan error)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		s.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.work {
			f()
		}
	}()
	require.NoError(t, <-ready)
	t.Cleanup(func() {
		close(s.work)
		<-done
	})
	return s
}

// do runs f in the space; what f starts in other goroutines is elsewhere.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// serve runs f on a thread of its own in the space.
func (s *space) serve(t *testing.T, f func()) (wait func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		ns, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", s.tid))
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	return func() { <-done }
}

// present has the camera listen and be found in a space, until stop.
func (c *camera) present(s *space) (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan net.Addr)
	listens := s.serve(c.t, func() { c.local.Run(ctx, func() { up <- c.local.Addr() }) })
	addr := <-up
	answers := s.serve(c.t, func() { local.Answer(ctx, local.Name(c.bindID), addr, zap.NewNop()) })
	return sync.OnceFunc(func() {
		cancel()
		listens()
		answers()
	})
}

// A camera is found by its owner at the other end of a cable, and by nobody who
// does not know its binding.
func TestM5_FoundByName(t *testing.T) {
	s := onACable(t, [2]string{"10.77.0.1/24", "10.77.0.2/24"})
	if s == nil {
		return
	}
	c := newCameraAt(t, nil, "", ":8555")
	target := c.target(nil, "")
	target.LAN, target.Find = Find, nil

	// It comes only after the first question: asked again.
	opened := make(chan error, 1)
	go func() {
		session, err := Open(t.Context(), target)
		if err == nil {
			call(t, session, "x")
			if session.Way() != "local network 10.77.0.2:8555" {
				t.Error(session.Way())
			}
			session.Close()
		}
		opened <- err
	}()
	stop := c.present(s)
	defer stop()
	require.NoError(t, <-opened)
	require.Equal(t, []string{"x"}, c.log())

	stranger := target
	stranger.Camera.BindID, stranger.Timeout = "another", time.Second
	_, err := Open(t.Context(), stranger)
	require.ErrorContains(t, err, "was not found")
}

// By IPv6 alone, as a link without any configuration has it.
func TestM5_FoundByNameOnALinkLocalAddress(t *testing.T) {
	s := onACable(t, [2]string{"fe80::1/64", "fe80::2/64"})
	if s == nil {
		return
	}
	c := newCameraAt(t, nil, "", ":8555")
	defer c.present(s)()
	target := c.target(nil, "")
	target.LAN, target.Find = Find, nil
	session := open(t, target)
	require.Equal(t, "local network [fe80::2%cable]:8555", session.Way())
	call(t, session, "x")
}

// Who listens hears the camera come, answer and go, under a name that tells nothing.
func TestP8_WhatAListenerHears(t *testing.T) {
	s := onACable(t, [2]string{"10.77.0.1/24", "10.77.0.2/24"})
	if s == nil {
		return
	}
	cable, err := net.InterfaceByName("cable")
	require.NoError(t, err)
	ear, err := net.ListenMulticastUDP("udp4", cable, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	require.NoError(t, err)
	defer ear.Close()
	require.NoError(t, ear.SetReadDeadline(time.Now().Add(patience)))
	hear := func() []byte {
		b := make([]byte, 9000)
		n, from, err := ear.ReadFromUDP(b)
		require.NoError(t, err)
		require.Equal(t, "10.77.0.2:5353", from.String())
		require.Contains(t, string(b[:n]), "_iid2")
		return b[:n]
	}
	c := newCameraAt(t, nil, "", ":8555")
	stop := c.present(s)
	heard := [][]byte{hear(), hear()} // announced twice
	stop()
	heard = append(heard, hear()) // and taken back
	for _, b := range heard {
		require.Contains(t, string(b), local.Name(c.bindID))
		for _, secret := range []string{c.serial.Plain(), c.bindID} {
			require.NotContains(t, string(bytes.ToUpper(b)), string(bytes.ToUpper([]byte(secret))))
		}
	}
}
