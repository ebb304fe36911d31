package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal/haltest"
	"iid2secure.nl/camagent/hal/sim"
	"iid2secure.nl/camagent/scripts/stack"
)

// scenario presses the reset button once the pairing window is over, and then
// rings at the door again and again.
const scenario = `about: a visitor, after somebody pressed the button on the camera
script:
  - {at: 6s, press: reset}
  - {at: 7s, every: 1s, press: doorbell}
`

func TestM7_M13_S2_ScenarioPressesTheButtonAndTheDisplayIsScanned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script, display := filepath.Join(dir, "visitor.yaml"), filepath.Join(dir, "display.png")
	if err := os.WriteFile(script, []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, stack.Options{Camera: map[string]any{
		"sim":     map[string]any{"scenario": script, "display": display},
		"pairing": map[string]any{"window": "3s"},
	}})
	if err := s.StartCloud(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.StartCamera(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the window is over", func() bool { return s.Logged("pairing window closed") })
	if err := s.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Second, "the LED is off, and the display shows the QR", func() bool {
		got := state(t, s)
		return got.Display != "" && got.LEDs["status"].On == 0
	})
	eventually(t, 20*time.Second, "the button opened the window", func() bool { return s.Logged(`button.*reset`) })
	if _, err := s.Ctl(t.Context(), "pair", "--image", display); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the LED is steady and the display empty", func() bool {
		got := state(t, s)
		return got.Display == "" && got.LEDs["status"].On > 0 && got.LEDs["status"].Off == 0
	})
	eventually(t, 10*time.Second, "the doorbell", func() bool { return s.Logged(`button.*doorbell`) })
}

func state(t *testing.T, s *stack.Stack) (st sim.State) {
	t.Helper()
	out, err := s.Simulate(t.Context(), "state")
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	if err != nil {
		t.Fatalf("camagent sim state: %v: %s", err, out)
	}
	return st
}

// checked is camagent check's report.
type checked struct {
	OK       bool `json:"ok"`
	Findings []struct {
		Name  string   `json:"name"`
		OK    bool     `json:"ok"`
		Lines []string `json:"lines"`
	} `json:"findings"`
	Board *haltest.Report `json:"board"`
}

func TestM13_CheckOfTheWholeCamera(t *testing.T) {
	t.Parallel()
	s := newStack(t, stack.Options{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func() (checked, string, error) {
		var report checked
		c := exec.CommandContext(t.Context(), filepath.Join(bin, "camagent"), "check", "--json", "--config", s.CameraConfig())
		var complaints strings.Builder
		c.Stderr = &complaints
		out, err := c.Output()
		if len(out) > 0 {
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		return report, complaints.String(), err
	}
	_, complaints, err := check()
	if err == nil || strings.Count(complaints, "\n") != 1 || !strings.Contains(complaints, "another camagent runs in it") {
		t.Errorf("beside a camera that runs: %v: %s", err, complaints)
	}
	if err := s.Camera.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Camera = nil
	before := time.Now()
	report, complaints, err := check()
	took := time.Since(before)
	if err != nil || !report.OK || report.Board == nil || !report.Board.OK {
		t.Fatalf("%v: %s: %+v", err, complaints, report)
	}
	if took > 45*time.Second {
		t.Errorf("it took %v", took)
	}
	names := map[string]bool{}
	for _, f := range report.Findings {
		names[f.Name] = f.OK
	}
	for _, n := range []string{"configuration", "state folder", "identity", "clock", "card", "broker", "storage", "board", "can"} {
		if !names[n] {
			t.Errorf("%s: not looked at, or not well: %+v", n, report.Findings)
		}
	}
	t.Logf("%d cases ok, %d not applicable, in %v", report.Board.Count(haltest.Passed), report.Board.Count(haltest.NotApplicable), took.Round(time.Second))

	c := exec.CommandContext(t.Context(), filepath.Join(bin, "camagent"), "check", "--config", s.CameraConfig(), "--board", "onboard")
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "onboard.sources") {
		t.Errorf("a wrong configuration: %v: %s", err, out)
	}
}
