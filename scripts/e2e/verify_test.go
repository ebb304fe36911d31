package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestM3_R2_VerifyFindsTheStoreAndTheCardGood looks at what a camera that records
// and uploads has made, while it does, with the programs as built; the owner's
// off is told as what it is.
func TestM3_R2_VerifyFindsTheStoreAndTheCardGood(t *testing.T) {
	t.Parallel()
	st, args := startStorage(t)
	opt := withStorage(st, args)
	opt.Camera = map[string]any{"record": map[string]any{"clip_length": "2s"}}
	s := newStack(t, opt)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctl := func(args ...string) string {
		t.Helper()
		out, err := s.Ctl(t.Context(), args...)
		if err != nil {
			t.Fatalf("camctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	after(t, 6*time.Second)
	ctl("set", "recording=off")
	after(t, 5*time.Second)
	ctl("set", "recording=continuous")
	// The gap is signed when nothing more has come for a while.
	eventually(t, 60*time.Second, "verify finds all good, and knows the end", func() bool {
		out, err := s.Ctl(t.Context(), "verify")
		return err == nil && strings.Contains(string(out), "all is good") && strings.Contains(string(out), "recording was switched off by its owner") &&
			!strings.Contains(string(out), "can't be told")
	})
	if err := s.Camera.Stop(); err != nil {
		t.Fatal(err)
	}
	if out := ctl("verify", s.Path("camera", "card")); !strings.Contains(out, "genuine") || !strings.Contains(out, "switched off") {
		t.Errorf("the card:\n%s", out)
	}
}
