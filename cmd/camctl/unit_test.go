package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
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

func TestLiveURLs(t *testing.T) {
	t.Parallel()
	urls, err := liveURLs(command.Live{User: "me", Password: "a/b@c", URLs: map[string]string{"main": "rtsp://10.0.0.1:8554/main"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"main": "rtsp://me:a%2Fb%40c@10.0.0.1:8554/main"}, urls)
	for _, bad := range []string{"file:///etc/passwd", "rtsp:", "http://10.0.0.1/main", "\x7f"} {
		_, err := liveURLs(command.Live{URLs: map[string]string{"main": bad}})
		require.ErrorContains(t, err, "not an RTSP address", bad)
	}
}

// pages is a camera with a list of clips.
type pages struct{ answers []command.ClipsPage }

func (p *pages) Call(_ context.Context, _ string, _, result any) error {
	if len(p.answers) == 0 {
		return errors.New("asked too often")
	}
	page, _ := result.(*command.ClipsPage)
	*page, p.answers = p.answers[0], p.answers[1:]
	return nil
}

func TestCardClips_AllPages(t *testing.T) {
	t.Parallel()
	clip := func(name string) []command.CardClip { return []command.CardClip{{Name: name}} }
	list, err := cardClips(t.Context(), &pages{[]command.ClipsPage{{Clips: clip("c"), More: true}, {Clips: clip("b"), More: true}, {Clips: clip("a")}}})
	require.NoError(t, err)
	require.Len(t, list, 3)
	_, err = cardClips(t.Context(), &pages{[]command.ClipsPage{{Clips: clip("c"), More: true}, {Clips: clip("c"), More: true}}})
	require.ErrorContains(t, err, "repeats itself")
}

func TestBytesText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_400: "999 kB", 999_600: "1 MB", 2_340_000: "2.34 MB"} {
		require.Equal(t, want, bytesText(n))
	}
}
