package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/stack"
)

// vanished is within what time a camera must be rid of viewers that went without
// a word.
const vanished = 75 * time.Second

// TestM2_R6_ViewersThatVanishAreFreed lets viewers of all kinds vanish at once:
// nobody's kernel answers for them any more.
func TestM2_R6_ViewersThatVanishAreFreed(t *testing.T) {
	t.Parallel()
	needTools(t, map[string]string{"nsenter": "util-linux", "ip": "iproute2", "bash": "bash"})
	programs := buildViewers(t)
	for name, vanish := range map[string]func(*testing.T, space, space){
		"the cable is pulled":            func(t *testing.T, _, viewer space) { viewer.must(t, "ip", "link", "set", "cable", "down") },
		"the camera's interface is gone": func(t *testing.T, camera, _ space) { camera.must(t, "ip", "link", "delete", "cable") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			camera, viewer := newCable(t)
			s, live := startLive(t, camera)
			playOnce(t, s, viewer, live, programs)
			before := observe(t, s)
			connected := startVanishers(t, s, viewer, live, programs)
			watching := observe(t, s)
			vanish(t, camera, viewer)
			freed(t, s, before, watching, connected)
		})
	}
}

// vanishers are viewers over each transport, and what never becomes one.
func vanishers(programs string, live command.Live, roots string) [][]string {
	main, sub, tls := live.URLs["main"], live.URLs["sub"], live.TLSURLs["sub"]
	gort := func(transport, url string) []string {
		return []string{"env", "RTSP_URL=" + url, filepath.Join(programs, "gortsplib"), "-transport", transport, "-roots", roots, "-out", "DIR"}
	}
	ffmpeg := func(transport, url string) []string {
		return []string{"ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", url, "-c", "copy", "-f", "null", "-"}
	}
	return [][]string{
		gort("tcp", main), gort("tcp", sub), gort("udp", main), gort("udp", sub), gort("multicast", sub), gort("tcp", tls), gort("udp", tls),
		ffmpeg("tcp", main), ffmpeg("tcp", sub), ffmpeg("udp", main), ffmpeg("udp", sub),
	}
}

// mutes are connections on which nobody says anything: nothing at all, and half a request.
func mutes() [][]string {
	const open = "exec 3<>/dev/tcp/" + cameraIP + "/8554; "
	return [][]string{{"bash", "-c", open + "sleep 1000"}, {"bash", "-c", open + "printf 'DESC' >&3; sleep 1000"}}
}

// launchAll starts programs that end with the test, not before.
func launchAll(t *testing.T, in space, list [][]string) {
	t.Helper()
	for _, args := range list {
		dir := t.TempDir()
		args = slices.Clone(args)
		for i := range args {
			if args[i] == "DIR" {
				args[i] = dir
			}
		}
		c := in.command(context.WithoutCancel(t.Context()), args[0], args[1:]...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Process.Kill()
			c.Wait() //nolint:errcheck // it was killed
		})
	}
}

// startVanishers returns how many connections there are once all watch.
func startVanishers(t *testing.T, s *stack.Stack, viewer space, live command.Live, programs string) int {
	t.Helper()
	roots := s.Path("camera.pem")
	if err := os.WriteFile(roots, []byte(live.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	list := vanishers(programs, live, roots)
	launchAll(t, viewer, list)
	eventually(t, 30*time.Second, "all watch", func() bool {
		st := status(t, s).Live
		watching := 0
		for _, v := range st.Sessions {
			if v.Frames > 10 || v.Transport == "multicast" { // whose frames are the group's
				watching++
			}
		}
		return watching == len(list)
	})
	launchAll(t, viewer, mutes()) // at the end: they are given little time
	want := len(list) + len(mutes())
	eventually(t, 5*time.Second, "all are connected", func() bool { return status(t, s).Live.Connections >= want })
	return want
}

// playOnce has one viewer watch and leave, so that what the first one needs is there.
func playOnce(t *testing.T, s *stack.Stack, viewer space, live command.Live, programs string) {
	t.Helper()
	for _, transport := range []string{"tcp", "udp"} {
		c := viewer.command(t.Context(), filepath.Join(programs, "gortsplib"), "-transport", transport, "-pictures", "25", "-out", t.TempDir())
		c.Env = append(os.Environ(), "RTSP_URL="+live.URLs["main"])
		if err := quietly(c); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "it left", func() bool { return status(t, s).Live.Connections == 0 })
}

func observe(t *testing.T, s *stack.Stack) process {
	t.Helper()
	p, err := lookAt(s.Camera.PID())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// freed waits until nothing is left of the viewers.
func freed(t *testing.T, s *stack.Stack, before, watching process, connected int) {
	t.Helper()
	began := time.Now()
	if watching.fds < before.fds+connected {
		t.Fatalf("%d descriptors with %d connections, %d before", watching.fds, connected, before.fds)
	}
	var now process
	const slack = 2 // a session of the owner's, who asks
	eventually(t, vanished, "no viewer, no connection and no descriptor is left", func() bool {
		st := status(t, s).Live
		now = observe(t, s)
		return st.Viewers == 0 && st.Connections == 0 && len(st.Sessions) == 0 && now.fds <= before.fds+slack
	})
	t.Logf("free after %.1f s; descriptors %d, %d, %d; kB resident %d, %d, %d", time.Since(began).Seconds(),
		before.fds, watching.fds, now.fds, before.rss>>10, watching.rss>>10, now.rss>>10)
	if grown := now.rss - before.rss; grown > 6<<20 {
		t.Errorf("%d kB more resident than before they came", grown>>10)
	}
}
