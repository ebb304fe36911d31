package pipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

// impatient makes tests of hanging sidecars short.
var impatient = waits{hello: 5 * time.Second, reply: time.Second, between: 50 * time.Millisecond}

func framed(t *testing.T, argv []string, w waits) *Framed {
	t.Helper()
	b, err := newFramed(limit(t), FramedConfig{Command: argv}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func opens(t *testing.T, b hal.Board, name string) hal.VideoStream {
	t.Helper()
	s, err := b.OpenVideo(limit(t), name, hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// R4: a sidecar that fails before it said hello is refused by one clear line.
func TestR4_SidecarWithoutHello(t *testing.T) {
	t.Parallel()
	for part, words := range map[string][]string{
		"mute":    {"sent no hello within 2s", "waiting for the sensor"},
		"quit":    {"ended with exit status 0"},
		"garbage": {"broke the protocol", `"INFO: acme senso`, "standard error"},
		"newer":   {"speaks version 2", "knows 1", "update camagent", "SIDECAR_PROTOCOL"},
		"early":   {"first message is of type 5", "hello"},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			w := impatient
			if part == "mute" {
				w.hello = 2 * time.Second
			}
			_, err := newFramed(limit(t), FramedConfig{Command: self(t, part)}, w)
			errtest.Says(t, err, hal.ErrGone, append(words, "sidecar")...)
		})
	}
}

func TestM1_NoSidecarThere(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "gone")
	for _, argv := range [][]string{{"no-such-sidecar"}, {gone}} {
		_, err := NewFramed(limit(t), FramedConfig{Command: argv})
		errtest.Says(t, err, hal.ErrNotFound, argv[0])
	}
	text := file(t, []byte("no program"))
	if _, err := NewFramed(limit(t), FramedConfig{Command: []string{text}}); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Error(err)
	}
	if _, err := NewFramed(limit(t), FramedConfig{}); err == nil {
		t.Error("no command was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewFramed(ctx, FramedConfig{Command: self(t, "mute")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// R4: whatever a sidecar does once it runs, what is open ends with ErrGone, the
// program is gone, and the next call starts it anew.
func TestR4_SidecarThatFails(t *testing.T) {
	t.Parallel()
	for part, words := range map[string][]string{
		"huge":  {"4294967295 bytes", "at most 4194304"},
		"twice": {"a second hello"},
		"cut":   {"exit status 3", "984 of the", "segmentation fault"},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			b := framed(t, self(t, part), impatient)
			for range 2 {
				s := opens(t, b, "main")
				first := b.current()
				_, err := s.Next(limit(t))
				errtest.Says(t, err, hal.ErrGone, append(words, "stream main", "sidecar")...)
				<-first.gone
				if alive(first.child.cmd.Process.Pid) {
					t.Error("the program still runs")
				}
				if !errors.Is(first.in.Close(), os.ErrClosed) || !errors.Is(first.out.Close(), os.ErrClosed) {
					t.Error("its pipes are still open")
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// R4: a sidecar that hangs is ended, by force if need be.
func TestR4_SidecarThatHangs(t *testing.T) {
	t.Parallel()
	t.Run("no reply", func(t *testing.T) {
		t.Parallel()
		b := framed(t, self(t, "deaf"), impatient)
		_, err := b.OpenVideo(limit(t), "main", hal.VideoConfig{})
		errtest.Says(t, err, hal.ErrGone, `did not answer "start main 0 0 0 0 0" within 1s`)
		s := b.current()
		<-s.gone
		if alive(s.child.cmd.Process.Pid) {
			t.Error("the program still runs")
		}
	})
	t.Run("in the middle of a message", func(t *testing.T) {
		t.Parallel()
		b := framed(t, self(t, "stuck"), impatient)
		v := opens(t, b, "main")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := v.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s := b.current()
		if err := v.Close(); err != nil { // which is what Camera does when it stalls
			t.Error(err)
		}
		<-s.gone
		opens(t, b, "main")
	})
	t.Run("does not read", func(t *testing.T) {
		t.Parallel()
		b := framed(t, self(t, "deaf"), impatient)
		s := b.current()
		var err error
		for range 40 { // a pipe holds 64 KiB
			if err = s.send(message{kind: msgTalk, body: make([]byte, 4000)}); err != nil {
				break
			}
		}
		errtest.Says(t, err, hal.ErrGone, "has not read its standard input for 1s")
	})
	t.Run("at the end", func(t *testing.T) {
		t.Parallel()
		b := framed(t, self(t, "deaf"), impatient)
		start := time.Now()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 3*stopWait || alive(b.current().child.cmd.Process.Pid) {
			t.Errorf("took %v", d)
		}
	})
}

// R1, R6: a stream that nobody reads costs bounded memory and harms no other; its
// reader goes on with a key frame and knows what was lost.
func TestR1_FloodOfOneStreamHarmsNoOther(t *testing.T) {
	t.Parallel()
	b := framed(t, self(t, "flood"), usualWaits)
	c := hal.NewCamera(b)
	main, err := c.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := c.OpenVideo(limit(t), "sub", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	flooded := b.current().lanes[0]
	for i := range 160 { // more than six seconds: longer than Camera takes a frame for present
		au, err := sub.Next(limit(t))
		if err != nil || au.Seq != uint64(i) || au.Lost != 0 {
			t.Fatal(i, au.Seq, au.Lost, err)
		}
		flooded.feed.mu.Lock()
		n := len(flooded.feed.items)
		flooded.feed.mu.Unlock()
		if n > laneFrames {
			t.Fatalf("%d frames wait", n)
		}
	}
	lost, next := uint64(0), uint64(0)
	for i := 0; lost == 0 || i < 50; i++ {
		au, err := main.Next(limit(t))
		if err != nil {
			t.Fatal(err)
		}
		if au.Seq != next+au.Lost || (au.Lost > 0 || i == 0 && au.Seq == 0) && !au.Key {
			t.Fatalf("frame %d after %d: lost %d, key %v", au.Seq, next, au.Lost, au.Key)
		}
		lost, next = lost+au.Lost, au.Seq+1
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A flood on standard error is read, and hardly logged.
func TestR6_SidecarFloodsStandardError(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	b, err := newFramed(limit(t), FramedConfig{Command: self(t, "noisy"), Log: zap.New(core)}, usualWaits)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := opens(t, b, "sub")
	for range 25 {
		if _, err := s.Next(limit(t)); err != nil {
			t.Fatal(err)
		}
	}
	if n := logs.Len(); n < 1 || n > 5 {
		t.Errorf("%d lines logged", n)
	}
}

// Nothing is open, so no reader learns of it.
func TestR4_IdleSidecarThatDiesIsLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	b, err := newFramed(limit(t), FramedConfig{Command: self(t, "noisy"), Log: zap.New(core)}, usualWaits)
	if err != nil {
		t.Fatal(err)
	}
	s := b.current()
	if err := s.child.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.gone
	if got := logs.FilterMessage("the sidecar is gone").All(); len(got) != 1 || !strings.Contains(fmt.Sprint(got[0].ContextMap()), "killed") {
		t.Errorf("%v", got)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if n := logs.FilterMessage("the sidecar is gone").Len(); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// R4: a sidecar that was started anew gets the settings again, the last of each.
func TestR4_SettingsSurviveTheSidecar(t *testing.T) {
	t.Parallel()
	notes := filepath.Join(t.TempDir(), "notes")
	b := framed(t, self(t, "obedient", notes), impatient)
	c := hal.NewCamera(b)
	s := opens(t, b, "main")
	for _, percent := range []int{10, 20, 30} {
		if got, err := c.SetLight(hal.White, percent); err != nil || got != percent {
			t.Fatal(got, err)
		}
	}
	if err := errors.Join(c.SetSiren(true), c.SetIRFilter(true)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetIRFilter(false); !errors.Is(err, hal.ErrGone) || !strings.Contains(err.Error(), "exit status 7") {
		t.Fatal(err) // which is what ends this sidecar
	}
	_, err := s.Next(limit(t))
	errtest.Says(t, err, hal.ErrGone, "exit status 7")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opens(t, b, "sub")
	if on, err := c.Siren(); !on || err != nil {
		t.Error("the siren is forgotten", err)
	}
	want := "hello|start main 0 0 0 0 0|light white 10|light white 20|light white 30|siren 1|irfilter 1|irfilter 0|" +
		"hello|light white 30|siren 1|irfilter 1|start sub 0 0 0 0 0"
	if got := strings.Join(lines(t, notes), "|"); got != want {
		t.Errorf("it heard\n%s, want\n%s", got, want)
	}
}

// R4: many who want a sidecar that ends at once make no storm of starts.
func TestR4_NoStormOfStarts(t *testing.T) {
	t.Parallel()
	notes := filepath.Join(t.TempDir(), "notes")
	w := impatient
	w.between = 200 * time.Millisecond
	b := framed(t, self(t, "once", notes), w)
	first := b.current()
	if err := syscall.Kill(first.child.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.gone
	ctx, cancel := context.WithTimeout(t.Context(), 5*w.between)
	defer cancel()
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			for ctx.Err() == nil {
				_, err := b.OpenVideo(ctx, []string{"main", "sub"}[i%2], hal.VideoConfig{})
				if err == nil {
					t.Error("opened")
				}
			}
		})
	}
	all.Wait()
	if n := len(lines(t, notes)); n < 2 || n > 7 {
		t.Errorf("started %d times, want one each %v", n, w.between)
	}
}

// R4: a sidecar that says something else when it is started anew is refused.
func TestR4_SidecarThatChanges(t *testing.T) {
	t.Parallel()
	b := framed(t, self(t, "changing"), impatient)
	b.current().kill(hal.ErrGone)
	_, err := b.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err == nil || !strings.Contains(err.Error(), "started anew: its streams are") || !strings.Contains(err.Error(), "restart camagent") {
		t.Error(err)
	}
}

// What a later version may add is ignored.
func TestM1_UnknownMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	b := framed(t, self(t, "future"), usualWaits)
	if au, err := opens(t, b, "main").Next(limit(t)); err != nil || !au.Key {
		t.Error(err)
	}
}

// script starts a sidecar that sends scripted messages.
func scriptedBoard(t *testing.T) (b *Framed, s hal.VideoStream, send func(int)) {
	t.Helper()
	b = framed(t, self(t, "script"), usualWaits)
	s = opens(t, b, "main")
	return b, s, func(i int) {
		t.Helper()
		if err := b.current().send(message{kind: msgCommand, body: fmt.Appendf(nil, "light white %d", i)}); err != nil {
			t.Error(err)
		}
	}
}

// Bad video ends its stream alone, and says what is bad.
func TestR4_BadVideoEndsTheStream(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		message int
		kind    error
		word    string
	}{
		"no video":      {1, hal.ErrGarbage, "no picture"},
		"two pictures":  {2, hal.ErrGarbage, "2 pictures begin"},
		"no parameters": {3, hal.ErrGarbage, "without SPS and PPS"},
		"old stamp":     {4, hal.ErrGarbage, "off, want CLOCK_MONOTONIC"},
		"other clock":   {13, hal.ErrGarbage, "off, want CLOCK_MONOTONIC"},
		"told":          {8, hal.ErrGone, "sensor unplugged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, s, send := scriptedBoard(t)
			before := b.current()
			send(test.message)
			_, err := s.Next(limit(t))
			errtest.Says(t, err, test.kind, test.word, "stream main", "sidecar")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = opens(t, b, "main")
			send(0)
			if au, err := s.Next(limit(t)); err != nil || !au.Key || b.current() != before {
				t.Error("the stream does not come back", err)
			}
		})
	}
}

// What breaks the protocol ends the sidecar.
func TestR4_BrokenProtocolEndsTheSidecar(t *testing.T) {
	t.Parallel()
	for word, number := range map[string]int{
		"stream number 2, its hello names 2": 5,
		`event button ["none" "1"]`:          6,
		`event "motion 1"`:                   7,
		"sound of 160 bytes with number 7":   9,
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			_, s, send := scriptedBoard(t)
			send(number)
			_, err := s.Next(limit(t))
			errtest.Says(t, err, hal.ErrGone, word, "broke the protocol")
		})
	}
}

// What the sidecar lost is counted, and the stream goes on with a key frame.
func TestM1_LossInTheSidecar(t *testing.T) {
	t.Parallel()
	_, s, send := scriptedBoard(t)
	for _, i := range []int{0, 11, 12} { // key; three lost, P; two lost, key
		send(i)
	}
	first, err := s.Next(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Next(limit(t))
	if err != nil || first.Seq != 0 || second.Seq != 7 || second.Lost != 6 || !second.Key {
		t.Errorf("%d, then %d with %d lost, key %v, %v", first.Seq, second.Seq, second.Lost, second.Key, err)
	}
}

// A speaker or microphone that fails ends alone; sound without a stamp is stamped.
func TestM1_SoundOfTheSidecar(t *testing.T) {
	t.Parallel()
	b, _, send := scriptedBoard(t)
	c := hal.NewCamera(b)
	m, err := c.OpenMicrophone(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	send(15)
	f, err := m.Next(limit(t))
	if age := time.Since(f.Time); err != nil || f.Samples != 160 || age < 20*time.Millisecond || age > 5*time.Second {
		t.Error(err, f.Samples, age)
	}
	p, err := c.OpenSpeaker(limit(t), c.SpeakerFormats()[0])
	if err != nil {
		t.Fatal(err)
	}
	send(14)
	for err == nil {
		err = p.Write(limit(t), hal.AudioFrame{Data: make([]byte, 160), Samples: 160})
	}
	errtest.Says(t, err, hal.ErrGone, "burnt", "speaker")
	if err := errors.Join(p.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if p, err = c.OpenSpeaker(limit(t), c.SpeakerFormats()[0]); err != nil || p.Close() != nil {
		t.Error(err)
	}
	send(10)
	if e, err := c.NextButton(limit(t)); err != nil || e.Button != "bell" || !e.Pressed {
		t.Error(e, err)
	}
}

// The example in C: its button, its lamp, a key frame, and a command that it lacks.
func TestM1_ExampleInC(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	b, err := newFramed(limit(t), FramedConfig{Command: []string{example(t), recorded}, Log: zap.New(core)}, usualWaits)
	if err != nil {
		t.Fatal(err)
	}
	c := hal.NewCamera(b)
	defer c.Close()
	v, err := c.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := v.Next(limit(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RequestKeyframe("main"); err != nil {
		t.Fatal(err)
	}
	frames := 1
	for au, err := v.Next(limit(t)); !au.Key; au, err = v.Next(limit(t)) {
		if frames++; err != nil || frames > 5 {
			t.Fatal("no key frame within 5", err)
		}
	}
	if err := syscall.Kill(process(b), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for _, pressed := range []bool{true, false} {
		if e, err := c.NextButton(limit(t)); err != nil || e.Button != "bell" || e.Pressed != pressed || time.Since(e.Time) > 5*time.Second {
			t.Error(e, err)
		}
	}
	if got, err := c.SetLight(hal.White, 60); got != 60 || err != nil {
		t.Error(got, err)
	}
	await(t, "the lamp is in the log", func() bool { return logs.FilterField(zap.ByteString("line", []byte("lamp at 60 %"))).Len() == 1 })
	_, err = b.do(limit(t), "dance")
	errtest.Says(t, err, hal.ErrUnable, "dance", "no such command")
}
