package rtsp

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// gsttalk compiles GStreamer's client.
func gsttalk(t *testing.T) string {
	t.Helper()
	const packages = "gcc, pkg-config, libgstreamer1.0-dev, gstreamer1.0-plugins-base and gstreamer1.0-plugins-good"
	cc, config := program(t, "cc", packages), program(t, "pkg-config", packages)
	flags, err := exec.Command(config, "--cflags", "--libs", "gstreamer-1.0").Output()
	require.NoError(t, err, "this test needs the Debian packages %s", packages)
	out := tempFile(t, "gsttalk")
	run(t, cc, append([]string{"-Wall", "-Werror", "testdata/gsttalk.c", "-o", out}, strings.Fields(string(flags))...)...)
	return out
}

func TestM2_M6_GStreamerTalks(t *testing.T) {
	t.Parallel()
	client := gsttalk(t)
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			r := newTalkRig(t, nil)
			r.play()
			r.requireVoice(145, func() { run(t, client, r.plainURL("main"), transport, user, password, "3") })
		})
	}
}
