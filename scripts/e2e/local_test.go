package e2e

import (
	"bytes"
	"encoding/json"
	"image/jpeg"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/port"
	"iid2secure.nl/camagent/scripts/stack"
)

// With broker, cloud and storage gone, the owner reaches the camera on the local
// network: status, settings, a picture, and what lies on the card.
func TestM3_M5_M14_OwnerOnTheLocalNetworkWhileTheCloudIsAway(t *testing.T) {
	t.Parallel()
	address, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, stack.Options{Camera: map[string]any{
		"local": map[string]any{"address": address}, "record": map[string]any{"clip_length": "2s"}}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Cloud.Stop(); err != nil {
		t.Fatal(err)
	}
	ctl := func(args ...string) string {
		t.Helper()
		out, err := s.Ctl(t.Context(), append([]string{"--lan=" + address}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var st struct {
		command.Status

		By string `json:"reached_by"`
	}
	if err := json.Unmarshal([]byte(ctl("status", "--json")), &st); err != nil || st.By != "local network "+address {
		t.Fatal(st.By, err)
	}
	if out := ctl("set", "main.fps=10"); !strings.Contains(out, "main.fps=10\n") {
		t.Error(out)
	}
	if _, err := jpeg.Decode(bytes.NewReader([]byte(ctl("snapshot", "-o", "-")))); err != nil {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "clips that wait on the card", func() bool {
		return strings.Contains(ctl("clips", "--on-card"), "waits for upload")
	})
	if _, err := s.Ctl(t.Context(), "status", "--timeout", "2s"); err == nil || !strings.Contains(err.Error(), "broker") {
		t.Errorf("without the local network: %v, want what the broker's way ended with", err)
	}
}
