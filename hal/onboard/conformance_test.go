package onboard

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
)

// M13: the board keeps every sentence of the contract, with a streamer of main,
// sub, sound and snapshots that can be killed and started again.
func TestM13_OnboardPasses(t *testing.T) {
	t.Parallel()
	s, subject := subject(t)
	subject.Shared = true
	subject.Unplug = func() error { s.kill(); return nil }
	subject.Replug = s.again
	report := haltest.Check(t, subject)
	t.Logf("%d cases passed, %d not applicable", report.Count(haltest.Passed), report.Count(haltest.NotApplicable))
	if report.Count(haltest.Passed) < 25 {
		t.Errorf("only %d cases passed", report.Count(haltest.Passed))
	}
}

// Not parallel to others, so that it can be told what is left behind.
func TestM13_OnboardLeavesNothingBehind(t *testing.T) {
	_, subject := subject(t)
	subject.Only = []string{"no-goroutine-left", "no-file-left", "no-process-left"}
	if report := haltest.Check(t, subject); report.Count(haltest.Passed) != 3 {
		t.Errorf("%d cases passed, want 3", report.Count(haltest.Passed))
	}
}

// subject is a board of everything that a streamer can give.
func subject(t *testing.T) (*streamer, haltest.Subject) {
	t.Helper()
	f := shoot(t, 60, "slices=1", "-c:a", "pcm_mulaw", "-ar", "8000")
	s := stream(t, "--user", "viewer", "--password", secret, "/main", f.heard("rtppcmupay"), "/sub", f.shown())
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewGray(image.Rect(0, 0, 320, 180)), nil); err != nil {
		t.Fatal(err)
	}
	still := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(picture.Bytes()) }))
	t.Cleanup(still.Close)
	source := func(stream string) Source {
		return Source{Stream: stream, URL: s.url("/" + stream), User: "viewer", Password: secret}
	}
	return s, haltest.Subject{
		Name: "onboard",
		Open: func(context.Context) (hal.Board, []any, error) {
			b, err := New(Config{Sources: []Source{source("main"), source("sub")}, Sound: "main", Snapshot: still.URL})
			return b, nil, err
		},
	}
}
