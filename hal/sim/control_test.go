package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
)

// served runs a board behind a control socket.
func served(t *testing.T, b *Board) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sim.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.ServeControl(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		b.Close()
	})
	return path
}

func TestM13_AskingARunningBoard(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	path := served(t, b)
	ask := func(args ...string) string {
		t.Helper()
		answer, err := Ask(t.Context(), path, args)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, args := range [][]string{{"light", "5"}, {"press", "reset", "for=1h"}, {"stall", "for=1h"}, {"cover", "for=1h"}} {
		if got := ask(args...); got != "" {
			t.Errorf("%q: %q", args, got)
		}
	}
	if err := b.SetDayNight(hal.Night); err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal([]byte(ask("state")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Scene.Light != 5 || !s.Scene.Covered || strings.Join(s.Pressed, " ") != "reset" || strings.Join(s.Faults, " ") != "stall" ||
		!s.DayNight.Night || s.IRFilter || s.Lights[hal.Infrared] != 100 || s.Image["brightness"] != 50 || len(s.Slots) != 2 {
		t.Errorf("%+v", s)
	}
	if e, err := b.NextButton(t.Context()); err != nil || e.Button != "reset" || !e.Pressed {
		t.Errorf("%+v, %v", e, err)
	}
	if got := ask("help"); got != Help() || !strings.Contains(got, "unplug [for=3s]") {
		t.Errorf("%s", got)
	}
}

func TestM13_AskingInVainSaysWhy(t *testing.T) {
	t.Parallel()
	path := served(t, New(Config{}))
	for request, want := range map[string]string{
		"jump":                             `"jump" is no action: want one of light, `,
		"press":                            `press: button is "", want reset or doorbell`,
		"press reset for=3":                `for is "3", want a time like 10s`,
		"unplug at=3s":                     `unknown key "at": unplug takes for`,
		"light 5 over=x speed=3":           `over is "x", want a time like 10s`,
		"tone 440 2s":                      `"2s": want key=value`,
		"pullcard":                         `this board has no card`,
		"heat " + strings.Repeat("1", 600): `heat: °C is "111`,
	} {
		answer, err := Ask(t.Context(), path, strings.Fields(request))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %q, %v, want %q", request, answer, err, want)
		}
	}
	if _, err := Ask(t.Context(), filepath.Join(t.TempDir(), "none"), []string{"state"}); err == nil || !strings.Contains(err.Error(), "is camagent running") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, path, []string{"state"}); err == nil {
		t.Error("ended context")
	}
}

// Two actions that need to wake a reader do so.
func TestM13_ATriggerWakesWhoWaits(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	path := served(t, b)
	pressed := make(chan hal.ButtonEvent)
	go func() {
		e, err := b.NextButton(t.Context())
		if err != nil {
			t.Error(err)
		}
		pressed <- e
	}()
	began := time.Now()
	if _, err := Ask(t.Context(), path, []string{"press", "doorbell"}); err != nil {
		t.Fatal(err)
	}
	if e := <-pressed; e.Button != "doorbell" || e.Time.Before(began) {
		t.Errorf("%+v", e)
	}
}

// S5: a talker that floods, keeps silent or comes in numbers harms nobody.
func TestS5_TheControlSocketIsBounded(t *testing.T) {
	t.Parallel()
	b := New(Config{})
	path := served(t, b)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	flood := dial()
	go flood.Write([]byte(strings.Repeat("x", 1<<20))) // fails when the board hangs up
	if line, err := bufio.NewReader(flood).ReadString('\n'); err != nil || !strings.Contains(line, "at most 512 bytes") {
		t.Errorf("%q, %v", line, err)
	}
	several := dial()
	if _, err := several.Write([]byte("light 7\nstate\nnonsense\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(several)
	for _, want := range []string{"ok\n", `"light":7`, saidError} {
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Errorf("%q, %v, want %q", line, err, want)
		}
	}
	var silent []net.Conn
	for range maxTalkers + 2 {
		silent = append(silent, dial())
	}
	refused := silent[len(silent)-1]
	if err := refused.SetReadDeadline(time.Now().Add(talkTimeout / 2)); err != nil {
		t.Fatal(err)
	}
	if n, err := refused.Read(make([]byte, 1)); n != 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("one talker too many: %d, %v", n, err)
	}
	for i := 0; ; i++ {
		if answer := b.answer("unplug for=10s"); answer != saidOK {
			if i != maxLive-1 || // light 7 goes on
				!strings.Contains(answer, "wait until they are over") {
				t.Errorf("after %d events: %s", i, answer)
			}
			return
		}
	}
}
