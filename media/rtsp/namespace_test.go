package rtsp

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const inside = "CAMAGENT_TEST_NAMESPACE"

// inNamespace runs the test that calls it once more, in a network namespace that
// has a loopback device and nothing else, so that no multicast gets out of it. It
// returns true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		ip := program(t, "ip", "iproute2")
		run(t, ip, "link", "set", "dev", "lo", "multicast", "on", "up")
		run(t, ip, "route", "add", "224.0.0.0/4", "dev", "lo")
		return true
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
	return false
}
