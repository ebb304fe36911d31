package e2e

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/stack"
)

// mishap is one thing that goes wrong beside the live stream, and ends.
type mishap struct {
	name       string
	begin, end func(*testing.T, *stack.Stack)
}

var mishaps = []mishap{
	{"broker, cloud and storage stand still",
		func(t *testing.T, s *stack.Stack) { toCloud(t, s, syscall.SIGSTOP) },
		func(t *testing.T, s *stack.Stack) { toCloud(t, s, syscall.SIGCONT) }},
	{"broker, cloud and storage are killed",
		func(_ *testing.T, s *stack.Stack) { s.Cloud.Kill() },
		func(t *testing.T, s *stack.Stack) {
			if err := s.StartCloud(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
	{"the card is away", takeCard, giveCard},
}

// R1: whatever breaks beside it, and mends, a viewer gets every picture.
func TestR1_LiveGoesOnWhateverBreaksBesideIt(t *testing.T) {
	t.Parallel()
	film := makeFilm(t)
	s := newStack(t, stack.Options{Camera: map[string]any{
		"board": "pipe",
		"pipe": map[string]any{"sources": []any{map[string]any{
			"stream": "main", "fps": 25,
			"command": []string{"ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", film, "-c", "copy", "-f", "h264", "-"},
		}}},
		"record": map[string]any{"clip_length": "2s"},
	}})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	camera := s.Camera.PID()
	v := countPictures(t, film, liveOf(t, s)["main"])
	goesOn := func(n int64, when string) {
		t.Helper()
		want := v.frames.Load() + n
		eventually(t, 20*time.Second, "pictures "+when, func() bool { return v.frames.Load() >= want })
		if missed := v.missed.Load(); missed != 0 {
			t.Errorf("%d pictures missed %s", missed, when)
		}
	}
	goesOn(50, "at the start")
	for _, m := range mishaps {
		m.begin(t, s)
		goesOn(125, "while "+m.name)
		m.end(t, s)
		goesOn(50, "after "+m.name)
	}
	if err := syscall.Kill(camera, 0); err != nil {
		t.Errorf("the camera's process: %v", err)
	}
}

func toCloud(t *testing.T, s *stack.Stack, what syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.Cloud.PID(), what); err != nil {
		t.Fatal(err)
	}
}

// takeCard leaves a file where the card's folder was, and waits until that is told.
func takeCard(t *testing.T, s *stack.Stack) {
	t.Helper()
	dir := s.Path("camera", "card")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the owner is told that the card is away", func() bool { return cardTold(t, s) })
}

func giveCard(t *testing.T, s *stack.Stack) {
	t.Helper()
	dir := s.Path("camera", "card")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the card is in use again", func() bool { return !cardTold(t, s) })
}

func cardTold(t *testing.T, s *stack.Stack) bool {
	t.Helper()
	return slices.ContainsFunc(status(t, s).Conditions, func(c command.Condition) bool { return c.Code == "card" })
}
