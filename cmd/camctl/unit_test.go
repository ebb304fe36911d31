package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/hal"
)

func TestM5_ParsePatch(t *testing.T) {
	t.Parallel()
	p, err := parsePatch([]string{"main.bitrate=1000000", "main.fps=15", "sub.gop=50", "recording=off", "microphone=on"})
	require.NoError(t, err)
	require.NoError(t, p.Validate())
	require.Equal(t, 1_000_000, *p.Streams["main"].Bitrate)
	require.Equal(t, 15, *p.Streams["main"].FPS)
	require.Nil(t, p.Streams["main"].GOP)
	require.Equal(t, 50, *p.Streams["sub"].GOP)
	require.Equal(t, "off", *p.Recording)
	require.True(t, *p.Microphone)
}

// What settings prints, set understands: the two can't drift apart.
func TestSettings_PrintedAsSetReads(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &ctl{out: &out}
	stream := command.StreamSettings{Bitrate: 1, FPS: 2, GOP: 3}
	require.NoError(t, c.showSettings(command.Settings{Recording: "continuous", Microphone: true,
		Streams: map[string]command.StreamSettings{"main": stream, "sub": stream}}))
	p, err := parsePatch(strings.Fields(out.String()))
	require.NoError(t, err)
	require.Equal(t, 3, *p.Streams["sub"].GOP)
	require.True(t, *p.Microphone)
	require.Len(t, setters(), len(strings.Fields(out.String())))
}

func TestM1_StatusTellsWhatTheCameraCanDoAndHow(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	c := &ctl{out: &out}
	st := command.Status{Board: hal.Info{Board: "pipe", Model: "external encoder"},
		Capabilities: []hal.Capability{{Name: "keyframe", By: "restart"}, {Name: "leds"}},
		Streams: []command.StreamStatus{{Name: "main", Running: true, Config: hal.VideoConfig{Width: 640, Height: 360, FPS: 25, GOP: 50, Bitrate: 500_000},
			StreamStats: hal.StreamStats{Frames: 70, Lost: 3, Opens: 2, Failures: 1}}},
		Live: command.LiveStatus{Viewers: 2, Connections: 3, Frames: 50, Bytes: 2_000_000, Skips: 1, WrongAnswers: 4, Handshakes: 2, Talking: "Bob", Sessions: []command.LiveSession{
			{Member: "Ann", Address: "10.0.0.5:50000", Stream: "main", Transport: "srtp", Since: "2026-01-01T00:00:00Z", Frames: 50, Skips: 1}}},
		Conditions: []command.Condition{{Code: "stream.main", Message: "device gone", Since: "2026-01-01T00:00:00Z"}}}
	require.NoError(t, c.show(st, func(w io.Writer) { writeStatus(w, st) }))
	for _, line := range []string{
		"can         keyframe (by restart), leds\n",
		"main        running, 640×360, 25 fps, GOP 50, 500 kbit/s\n",
		"            70 frames, 3 lost, opened 2×, failed 1×\n",
		"live        2 viewers, 3 connections, 50 frames sent (2 MB)\n",
		"            too slow: 1× put forward to a key frame, 0× dropped\n",
		"            refused: 0 over the limit, 4 wrong passwords, 0 for too many of those\n",
		"            ended: 2 without a TLS handshake, 0 for what came over them\n",
		"viewer      Ann from 10.0.0.5:50000: main over srtp since 2026-01-01T00:00:00Z, 50 frames, too slow 1×\n",
		"talks       Bob\n",
		"problem     stream.main: device gone (since 2026-01-01T00:00:00Z)\n",
	} {
		require.Contains(t, out.String(), line)
	}
	out.Reset()
	c.json = true
	require.NoError(t, c.show(st, nil))
	for _, field := range []string{`"by": "restart"`, `"lost": 3`, `"failures": 1`, `"opens": 2`, `"frames": 70`, `"wrong_answers": 4`, `"transport": "srtp"`} {
		require.Contains(t, out.String(), field)
	}
}

// What docs/upload.md promises is in the text, not in JSON alone.
func TestM4_StatusTellsWhatHindersTheUpload(t *testing.T) {
	t.Parallel()
	text := func(u command.UploadStatus) string {
		var out strings.Builder
		c := &ctl{out: &out}
		require.NoError(t, c.show(u, func(w io.Writer) { writeUpload(w, u) }))
		return out.String()
	}
	require.Equal(t, "upload  0 waiting (0 B), 7 done\n", text(command.UploadStatus{Done: 7}))
	require.Equal(t, `upload  2 waiting (3 MB), 7 done
        the oldest is of 2026-01-02T03:04:05Z
        sends a.mp4.age (alarm), 1 MB of 2 MB
        failed: 4 attempts; 1 objects stepped aside
        the last attempt: connection refused
        the next try is at 2026-01-02T03:05:05Z
`, text(command.UploadStatus{Pending: 2, Bytes: 3_000_000, Done: 7, UploadProgress: command.UploadProgress{
		Oldest: "2026-01-02T03:04:05Z", Sending: []command.Sending{{File: "a.mp4.age", Lane: "alarm", Size: 2_000_000, Sent: 1_000_000}},
		Retries: 4, Refused: 1, Error: "connection refused", NextTry: "2026-01-02T03:05:05Z"}}))
}

func TestBytesText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_400: "999 kB", 999_600: "1 MB", 2_340_000: "2.34 MB"} {
		require.Equal(t, want, bytesText(n))
	}
}
