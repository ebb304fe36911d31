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
// sub, sound and snapshots that can be killed and started again. It is not
// parallel to others, so that it can tell what the board leaves behind.
func TestM13_OnboardPasses(t *testing.T) {
	f := shoot(t, 60, "slices=1", "-c:a", "pcm_mulaw", "-ar", "8000")
	s := stream(t, "--user", "viewer", "--password", secret, "/main", f.heard("rtppcmupay"), "/sub", f.shown())
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewGray(image.Rect(0, 0, 320, 180)), nil); err != nil {
		t.Fatal(err)
	}
	still := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(picture.Bytes()) }))
	t.Cleanup(still.Close)
	report := haltest.Check(t, haltest.Subject{
		Name: "onboard",
		Open: func(context.Context) (hal.Board, []any, error) {
			b, err := New(Config{
				Sources: []Source{
					{Stream: "main", URL: s.url("/main"), User: "viewer", Password: secret},
					{Stream: "sub", URL: s.url("/sub"), User: "viewer", Password: secret},
				},
				Sound: "main", Snapshot: still.URL,
			})
			return b, nil, err
		},
		Unplug: func() error { s.kill(); return nil },
		Replug: s.again,
	})
	t.Logf("%d cases passed, %d not applicable", report.Count(haltest.Passed), report.Count(haltest.NotApplicable))
	if report.Count(haltest.Passed) < 15 {
		t.Errorf("only %d cases passed", report.Count(haltest.Passed))
	}
}
