package rtsp

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/hal"
)

// received turns an Annex B file back into access units, each told by its bytes:
// the pictures alone, since players leave out or repeat parameter sets.
func received(t *testing.T, annexB []byte) [][]byte {
	t.Helper()
	var list [][]byte
	for n := range hal.SplitAnnexB(annexB) {
		if k := n[0] & 31; k == hal.NALSlice || k == hal.NALIDR {
			if n[1]&0x80 != 0 || len(list) == 0 { // first_mb_in_slice is 0
				list = append(list, nil)
			}
			list[len(list)-1] = append(list[len(list)-1], n...)
		}
	}
	return list
}

func pictureBytes(avc []byte) (b []byte) {
	for n := range hal.SplitAVC(avc) {
		if k := n[0] & 31; k == hal.NALSlice || k == hal.NALIDR {
			b = append(b, n...)
		}
	}
	return b
}

// requireRun checks that got is a run of what was pushed, from a key frame on,
// with none missing, doubled or changed.
func requireRun(t *testing.T, pushed, got [][]byte, atLeast int) {
	t.Helper()
	require.GreaterOrEqual(t, len(got), atLeast, "pictures received")
	for from := range pushed {
		if !bytes.Equal(pictureBytes(pushed[from]), got[0]) {
			continue
		}
		require.LessOrEqual(t, from+len(got), len(pushed))
		for i := range got {
			require.True(t, bytes.Equal(got[i], pictureBytes(pushed[from+i])), "picture %d of %d differs", i, len(got))
		}
		return
	}
	t.Fatal("the first picture received was never pushed")
}

// roomForMedia is what a player's socket holds while the player waits for a
// processor: how busy the machine is shall not matter.
const roomForMedia = "4194304"

func TestM2_FfmpegGetsEveryFrame(t *testing.T) {
	t.Parallel()
	ffmpeg := program(t, "ffmpeg", "ffmpeg")
	for _, transport := range []string{"tcp", "udp"} {
		for _, sound := range []bool{false, true} {
			name := transport
			if sound {
				name += " with sound"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				if sound {
					r.stream.SetAudio(&hal.AudioFormat{Codec: hal.PCMU, Rate: 8000, Channels: 1})
				}
				r.play()
				out := tempFile(t, "out.h264")
				args := []string{"-v", "warning", "-rtsp_transport", transport, "-buffer_size", roomForMedia, "-i", r.url("main"), "-map", "0:v", "-c", "copy", "-frames:v", "60", "-f", "h264", out}
				if sound {
					args = append(args, "-map", "0:a", "-c:a", "copy", "-t", "2", "-f", "mulaw", out+".ulaw")
				}
				run(t, ffmpeg, args...)
				b, err := os.ReadFile(out)
				require.NoError(t, err)
				requireRun(t, r.units(), received(t, b), 60)
				if sound {
					requireTone(t, out+".ulaw")
				}
			})
		}
	}
}

func requireTone(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(b), 8000, "bytes of sound")
	for i := 160; i < len(b)/160*160; i += 160 {
		require.Equal(t, tone(int(b[0])+i/160), b[i:i+160], "frame %d of sound", i/160)
	}
}

func TestM2_GStreamerGetsEveryFrame(t *testing.T) {
	t.Parallel()
	gst := program(t, "gst-launch-1.0", "gstreamer1.0-tools, gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad")
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.play()
			out := tempFile(t, "out.h264")
			run(t, gst, "-q", "rtspsrc", "location="+r.plainURL("main"), "protocols="+transport, "user-id="+user, "user-pw="+password,
				"!", "rtph264depay", "!", "h264parse", "!", "video/x-h264,stream-format=byte-stream,alignment=au",
				"!", "identity", "eos-after=60", "!", "filesink", "location="+out)
			b, err := os.ReadFile(out)
			require.NoError(t, err)
			requireRun(t, r.units(), received(t, b), 55)
		})
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	if len(out) > 0 {
		t.Logf("%s", out)
	}
}

// Some clients ask for one track to play, and mean all (yellowstone).
func TestM2_PlayByTheURLOfATrack(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"/trackID=0", "/trackID=1", "/?a=b/trackID=0"} {
		r := newRig(t, nil)
		r.push(0, time.Now())
		c := r.raw()
		require.Equal(t, base.StatusOK, c.login().StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Setup, "/trackID=0", interleaved("0-1")).StatusCode)
		require.Equal(t, base.StatusOK, c.do(base.Play, suffix, nil).StatusCode, suffix)
		_, err := c.pictures().next()
		require.NoError(t, err)
	}
}
