package pipe

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"iid2secure.nl/camagent/hal"
)

// S6: what stands for a placeholder is text within one argument.
func TestS6_PlaceholdersArePlainText(t *testing.T) {
	t.Parallel()
	src := Source{
		Command: []string{"enc", "--size={width}x{height}", "{bitrate}", "fps {fps}; rm -rf /", "{NV12,I420}", "{}", "{gop}{gop}"},
		Width:   640, Height: 360, FPS: 25, GOP: 50, Bitrate: 800_000, BitrateRange: hal.Range{Min: 100_000, Max: 4_000_000},
	}
	if err := src.checkPlaceholders(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want hal.VideoConfig
		argv []string
	}{
		{hal.VideoConfig{}, []string{"enc", "--size=640x360", "800000", "fps 25; rm -rf /", "{NV12,I420}", "{}", "5050"}},
		{hal.VideoConfig{Width: 1, FPS: 5, GOP: 9, Bitrate: 300_000}, []string{"enc", "--size=640x360", "300000", "fps 25; rm -rf /", "{NV12,I420}", "{}", "5050"}},
	} {
		if got := src.argv(src.wished(test.want)); !slices.Equal(got, test.argv) {
			t.Errorf("%+v: %q", test.want, got)
		}
	}
}

func TestM1_BadPlaceholders(t *testing.T) {
	t.Parallel()
	cat := tool(t, "cat", "coreutils")
	for name, test := range map[string]struct {
		src   Source
		words []string
	}{
		"unknown":    {Source{Command: []string{cat, "--x={size}"}}, []string{"{size}", `"--x={size}"`, "{bitrate}"}},
		"program":    {Source{Command: []string{"{fps}"}}, []string{"{fps}", "arguments alone"}},
		"no default": {Source{Command: []string{cat, "{bitrate}"}}, []string{"{bitrate}", "bitrate is not set"}},
		"no use":     {Source{Command: []string{cat}, FPS: 5, FPSRange: hal.Range{Min: 1, Max: 9}}, []string{"no {fps}"}},
		"outside":    {Source{Command: []string{cat, "{gop}"}, GOP: 10, GOPRange: hal.Range{Min: 1, Max: 9}}, []string{"gop is 10", "1 to 9"}},
		"backward":   {Source{Command: []string{cat, "{gop}"}, GOP: 5, GOPRange: hal.Range{Min: 9, Max: 1}}, []string{"gop"}},
		"negative":   {Source{Command: []string{cat}, Bitrate: -1}, []string{"bitrate is -1"}},
	} {
		test.src.Stream = "main"
		_, err := New(Config{Sources: []Source{test.src}})
		for _, w := range append(test.words, `"main"`) {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", name, err, w)
			}
		}
	}
}

// What a restart does: Camera tunes the program and gets key frames of it.
func TestM1_CommandIsTunedByRestart(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "starts")
	src := Source{
		Stream: "main", FPS: 25, Bitrate: 500_000, BitrateRange: hal.Range{Min: 100_000, Max: 1_000_000},
		Command: []string{tool(t, "bash", "bash"), "-c", `echo "$0 $1" >> "$2"; cat "$3"; exec sleep 1000`,
			"{bitrate}", "r{fps}", log, file(t, encoded(t)[0].bytes)},
	}
	b, err := New(Config{Sources: []Source{src}})
	if err != nil {
		t.Fatal(err)
	}
	c := hal.NewCamera(b)
	defer c.Close()
	if k, _ := c.Capability(hal.CapTune); k.By != "restart" {
		t.Fatal(c.Capabilities())
	}
	v, err := c.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() hal.AccessUnit {
		au, err := v.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		return au
	}
	next()
	if au := next(); au.Key {
		t.Fatal("the second picture is a key frame already")
	}
	if _, err := c.Tune("main", hal.VideoConfig{Bitrate: 3_000_000, FPS: 5}); err != nil {
		t.Fatal(err)
	}
	if au := next(); !au.Key || v.Config().Bitrate != 1_000_000 || v.Config().FPS != 25 {
		t.Errorf("key %v, %+v", au.Key, v.Config())
	}
	next()
	if err := c.RequestKeyframe("main"); err != nil {
		t.Fatal(err)
	}
	if au := next(); !au.Key {
		t.Error("no key frame")
	}
	said, err := os.ReadFile(log)
	if err != nil || string(said) != "500000 r25\n1000000 r25\n1000000 r25\n" {
		t.Errorf("%v, started with %q", err, said)
	}
}
