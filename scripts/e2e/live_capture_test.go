package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
)

// capture is two sessions, over TCP and over UDP, as tshark saw them.
type capture struct {
	file     string
	shark    *exec.Cmd
	sessions sync.WaitGroup
	errs     [2]error
}

// session is how long each of them lasts: three rounds of sender reports.
const session = 12 * time.Second

// startCapture has both sessions take place on the camera's own loop-back, where
// there is nothing else.
func startCapture(t *testing.T, camera space, programs string, live command.Live) *capture {
	t.Helper()
	c := &capture{file: filepath.Join(t.TempDir(), "session.pcapng")}
	// A child of the test's context, so that the end of a failed test is its end.
	c.shark = camera.command(t.Context(), "tshark", "-q", "-i", "lo", "-B", "32", "-w", c.file,
		"-f", "host "+cameraIP+" and (tcp port 8554 or udp)")
	said, err := c.shark.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.shark.Start(); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	go func() {
		begin := sync.OnceFunc(func() { close(begun) })
		defer begin()
		lines(said, func(l string) {
			if strings.Contains(l, "Capture started") {
				begin()
			}
		})
	}()
	<-begun
	for i, transport := range []string{"tcp", "udp"} {
		dir := t.TempDir()
		c.sessions.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			record := byGortsplib(filepath.Join(programs, "gortsplib"), transport)
			c.errs[i] = record(ctx, source{in: camera, url: live.URLs["sub"]}, dir, session)
		})
	}
	return c
}

// stop ends the capture after both sessions, when their last answers are in the file.
func (c *capture) stop(t *testing.T) {
	t.Helper()
	c.sessions.Wait()
	for _, err := range c.errs {
		if err != nil {
			t.Error(err)
		}
	}
	const answers = 2 * 6 // OPTIONS, DESCRIBE, SETUP twice, PLAY, TEARDOWN
	eventually(t, 20*time.Second, "the answers to TEARDOWN captured", func() bool {
		b, err := os.ReadFile(c.file)
		return err == nil && bytes.Count(b, []byte("RTSP/1.0 200 OK")) >= answers
	})
	c.shark.Process.Signal(syscall.SIGINT)
	if err := c.shark.Wait(); err != nil {
		t.Errorf("tshark: %v", err)
	}
}

// dissected are tshark's fields of one frame, each with all its values.
type dissected map[string][]string

// dissect reads the capture back: of each frame that fits filter, the fields.
func (c *capture) dissect(t *testing.T, filter string, fields ...string) (list []dissected) {
	t.Helper()
	args := []string{"-r", c.file, "-Y", filter, "-T", "fields", "-E", "aggregator=;"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	for l := range strings.Lines(output(t, "tshark", args...)) {
		d := dissected{}
		for i, v := range strings.Split(strings.TrimRight(l, "\n"), "\t") {
			if v != "" {
				d[fields[i]] = strings.Split(v, ";")
			}
		}
		list = append(list, d)
	}
	if len(list) == 0 && !strings.Contains(filter, "expert") {
		t.Errorf("tshark finds no %s", filter)
	}
	return list
}

func (c *capture) check(t *testing.T) {
	t.Helper()
	c.stop(t)
	c.checkExpert(t)
	c.checkDialogue(t)
	c.checkDescription(t)
	c.checkPackets(t)
	c.checkReports(t)
}

// checkExpert looks for whatever tshark warns of in what the camera sent. Not
// about the camera is what the kernels' TCP does, and what tshark can't read: it
// takes the bytes that keep start codes out of parameter sets for the end of them.
func (c *capture) checkExpert(t *testing.T) {
	t.Helper()
	const warning = 0x600000
	others := []string{"33554432", "83886080"} // groups Sequence and Undecoded
	filter := fmt.Sprintf("(_ws.expert.severity >= %#x || _ws.malformed) && !(tcp.dstport == 8554)", warning)
	for _, d := range c.dissect(t, filter, "frame.number", "_ws.col.Info", "_ws.expert.severity", "_ws.expert.group", "_ws.expert.message") {
		for i, group := range d["_ws.expert.group"] {
			if number(d["_ws.expert.severity"][i]) >= warning && !slices.Contains(others, group) {
				t.Errorf("frame %s, %s: %s", d["frame.number"], d["_ws.col.Info"], d["_ws.expert.message"])
			}
		}
	}
}

// checkDialogue looks whether each session is whole, from OPTIONS to the answer to TEARDOWN.
func (c *capture) checkDialogue(t *testing.T) {
	t.Helper()
	methods, codes := map[string][]string{}, map[string][]string{}
	for _, d := range c.dissect(t, "rtsp.method || rtsp.status", "tcp.stream", "rtsp.method", "rtsp.status") {
		s := d["tcp.stream"][0]
		methods[s] = append(methods[s], d["rtsp.method"]...)
		codes[s] = append(codes[s], d["rtsp.status"]...)
	}
	if len(methods) != 2 {
		t.Errorf("%d sessions captured, want 2", len(methods))
	}
	for s, list := range methods {
		asked := slices.DeleteFunc(slices.Clone(list), func(m string) bool { return m == "GET_PARAMETER" })
		want := []string{"OPTIONS", "DESCRIBE", "DESCRIBE", "SETUP", "SETUP", "PLAY", "TEARDOWN"}
		if !slices.Equal(asked, want) {
			t.Errorf("session %s: %v, want %v", s, asked, want)
		}
		answers := slices.Repeat([]string{"200"}, len(list))
		answers[1] = "401"
		if !slices.Equal(codes[s], answers) {
			t.Errorf("session %s: %v answered by %v, want %v", s, list, codes[s], answers)
		}
	}
}

// checkDescription compares the profile that the SDP tells with that in the
// parameter set beside it, both as tshark reads them.
func (c *capture) checkDescription(t *testing.T) {
	t.Helper()
	for _, d := range c.dissect(t, "sdp", "sdp.media", "h264.profile", "h264.nal_unit", "h264.level_id") {
		if got := strings.Join(d["sdp.media"], ", "); got != "video 0 RTP/AVP 96, audio 0 RTP/AVP 0" {
			t.Errorf("media described: %s", got)
		}
		if len(d["h264.profile"]) != 1 || len(d["h264.nal_unit"]) == 0 {
			t.Fatalf("tshark reads no profile: %v", d)
		}
		set, err := hex.DecodeString(d["h264.nal_unit"][0])
		if err != nil || len(set) < 4 {
			t.Fatalf("parameter set %v", d["h264.nal_unit"])
		}
		if want := hex.EncodeToString(set[1:4]); d["h264.profile"][0] != want {
			t.Errorf("profile-level-id %s, the parameter set says %s", d["h264.profile"][0], want)
		}
	}
}

// checkPackets counts RTP packets by tshark's own table, and by their numbers:
// the table does not understand several packets in one piece of TCP.
func (c *capture) checkPackets(t *testing.T) {
	t.Helper()
	streams := 0
	for l := range strings.Lines(output(t, "tshark", "-r", c.file, "-q", "-z", "rtp,streams")) {
		f := strings.Fields(l)
		if len(f) < 10 || f[2] != cameraIP || f[3] == "8554" {
			continue
		}
		if n, _ := strconv.Atoi(f[8]); n < 50 { // those by which a viewer opens its firewall
			continue
		}
		streams++
		if f[9] != "0" {
			t.Errorf("tshark misses packets: %s", l)
		}
	}
	if streams != 2 {
		t.Errorf("tshark sees %d streams over UDP, want 2", streams)
	}
	last, total := map[string]uint16{}, map[string]int{}
	for _, d := range c.dissect(t, "rtp && rtp.ssrc != 0", "frame.number", "rtp.ssrc", "rtp.seq") {
		for i, ssrc := range d["rtp.ssrc"] {
			n, _ := strconv.Atoi(d["rtp.seq"][i])
			if before, ok := last[ssrc]; ok && uint16(n) != before+1 {
				t.Errorf("frame %s: packet %d of %s comes after %d", d["frame.number"], n, ssrc, before)
			}
			last[ssrc] = uint16(n)
			total[ssrc]++
		}
	}
	t.Logf("packets by source: %v", total)
}

// checkReports looks whether sender reports tell the true time of day: at once
// with the first packets, and after the first second as the present.
func (c *capture) checkReports(t *testing.T) {
	t.Helper()
	const sinceEpoch, fraction = 2208988800, 1 << 32
	begun, count := map[string]float64{}, map[string]int{}
	for _, d := range c.dissect(t, "rtcp.pt == 200", "frame.time_epoch", "rtcp.senderssrc", "rtcp.timestamp.ntp.msw", "rtcp.timestamp.ntp.lsw") {
		now := number(d["frame.time_epoch"][0])
		for i, ssrc := range d["rtcp.senderssrc"] {
			if i >= len(d["rtcp.timestamp.ntp.msw"]) {
				break
			}
			told := number(d["rtcp.timestamp.ntp.msw"][i]) - sinceEpoch + number(d["rtcp.timestamp.ntp.lsw"][i])/fraction
			late := now - told
			if _, ok := begun[ssrc]; !ok {
				begun[ssrc] = now
			}
			count[ssrc]++
			// A viewer begins with a key frame that may be as old as a GOP.
			limit := 3.0
			if now-begun[ssrc] >= 1 {
				limit = 1
			}
			if late < -0.1 || late > limit {
				t.Errorf("%s: a report %.1f s after the first says %.3f s ago", ssrc, now-begun[ssrc], late)
			}
		}
	}
	if len(count) != 4 {
		t.Errorf("reports of %d sources, want 4", len(count))
	}
	for ssrc, n := range count {
		if n < 2 {
			t.Errorf("%d sender reports of %s in %s", n, ssrc, session)
		}
	}
	t.Logf("sender reports by source: %v", count)
}
