package pipe

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

// bash plays badly behaved encoders; the board itself knows no shell.
func script(t *testing.T, text string) Source {
	return Source{Command: []string{tool(t, "bash", "bash"), "-c", text}}
}

func TestR4_ProgramThatFails(t *testing.T) {
	t.Parallel()
	sample := encoded(t)[0]
	stream := sample.bytes[:len(sample.bytes)-20] // it died in the middle of the last picture
	src := script(t, fmt.Sprintf("cat %s; echo starting >&2; printf 'frame=1\\rframe=2\\rno \"camera\"\\n\\n' >&2; exit 3", file(t, stream)))
	_, s := openMain(t, src)
	list, err := drain(t, s)
	errtest.Says(t, err, hal.ErrGone, "main", "bash", "exit status 3", `no \"camera\"`)
	whole(t, list, sample.units[:pictures-1])
}

func TestR4_ProgramThatIsKilled(t *testing.T) {
	t.Parallel()
	_, s := openMain(t, script(t, "kill -9 $$"))
	_, err := drain(t, s)
	errtest.Says(t, err, hal.ErrGone, "signal: killed")
}

// A program that hangs is Camera's to find; it is ended then.
func TestR4_ProgramThatHangs(t *testing.T) {
	t.Parallel()
	src := script(t, "printf '\\0\\0\\1'; trap '' TERM; while :; do sleep 0.05; done")
	src.Stream = "main"
	b, err := New(Config{Sources: []Source{src}})
	if err != nil {
		t.Fatal(err)
	}
	c := hal.NewCamera(b)
	defer c.Close()
	v, err := c.OpenVideo(limit(t), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	pid := process(b)
	_, err = v.Next(limit(t))
	errtest.Says(t, err, hal.ErrStalled, "main")
	await(t, "the program is gone", func() bool { return !alive(pid) })
}

// alive tells whether a process of the group runs; one that has ended and waits
// for init to reap it does not.
func alive(pgid int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // state, parent, group, …
		if len(f) > 2 && f[2] == fmt.Sprint(pgid) && f[0] != "Z" && f[0] != "X" {
			return true
		}
	}
	return false
}

// await waits until ok, or fails.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := limit(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("not so in time: " + what)
		case <-tick.C:
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func group(s hal.VideoStream) int { return s.(*stream).in.child.cmd.Process.Pid }

// Nothing of the program is left, whether it listens to SIGTERM or not, nor of
// what it started, whether or not that holds the output open.
func TestR10_CloseLeavesNoProcess(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text           string
		atLeast, below time.Duration
	}{
		"polite":     {"sleep 1000 & touch %[1]s; wait", 0, time.Second},
		"stubborn":   {"trap '' TERM; touch %[1]s; while :; do sleep 0.05; done", stopWait, stopWait + time.Second},
		"grandchild": {"(trap '' TERM; touch %[1]s; exec sleep 1000) & exit 0", 0, time.Second},
		"cleaning":   {"trap 'touch %[1]s.clean; exit 0' TERM; touch %[1]s; while :; do sleep 0.01; done", 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "mark")
			_, s := openMain(t, script(t, fmt.Sprintf(test.text, mark)))
			await(t, "the program is ready", func() bool { return exists(mark) })
			start := time.Now()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d < test.atLeast || d > test.below {
				t.Errorf("Close took %v, want %v to %v", d, test.atLeast, test.below)
			}
			await(t, "all processes are gone", func() bool { return !alive(group(s)) })
			if name == "cleaning" && !exists(mark+".clean") {
				t.Error("the program could not clean up")
			}
		})
	}
}

// A program that closes its output and stays is ended.
func TestR4_OutputClosedProgramStays(t *testing.T) {
	t.Parallel()
	_, s := openMain(t, script(t, "exec >&-; trap '' TERM; while :; do sleep 0.05; done"))
	start := time.Now()
	_, err := drain(t, s)
	errtest.Says(t, err, hal.ErrGone, "signal: killed")
	if d := time.Since(start); d < 2*stopWait || alive(group(s)) {
		t.Errorf("took %v, alive %v", d, alive(group(s)))
	}
}

// S6, S8: arguments reach the program as they are, the environment without what is ours.
func TestS6_NoShellNoSecrets(t *testing.T) {
	t.Setenv("CAMAGENT_CLOUD_KEY", "hunter2")
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("LD_SOMETHING", "kept")
	out := filepath.Join(t.TempDir(), "env")
	_, s := openMain(t, Source{Command: []string{tool(t, "bash", "bash"), "-c", `env > "$0"; printf %s "$1" >> "$0"`, out, `$(touch /tmp/x); "a b" *`}})
	_, err := drain(t, s)
	errtest.Says(t, err, hal.ErrGone, "exit status 0")
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "NOTIFY_SOCKET") ||
		!strings.Contains(string(b), "LD_SOMETHING=kept") || !strings.HasSuffix(string(b), `$(touch /tmp/x); "a b" *`) {
		t.Errorf("the program saw %q", b)
	}
	if env := childEnv([]string{"A=1", "CAMAGENT_X=2", "NOTIFY_SOCKET=3", "B=4"}); !slices.Equal(env, []string{"A=1", "B=4"}) {
		t.Error(env)
	}
}

// A flood on stderr is read, bounded, and hardly logged.
func TestR6_FloodOfMessages(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	w := &lastWords{log: zap.New(core)}
	for range 10_000 {
		fmt.Fprint(w, strings.Repeat("x", 50), "\r\n")
	}
	for range 100 {
		_, _ = w.Write(bytes.Repeat([]byte("y"), 1000))
	}
	if len(w.String()) != maxLine || cap(w.line) > 2*maxLine || logs.Len() < 1 || logs.Len() > 3 {
		t.Errorf("%d bytes kept in %d, %d lines logged", len(w.String()), cap(w.line), logs.Len())
	}
}

// A program that prints a line a picture costs few lines of log; one that was
// silent is heard again at once.
func TestR6_EndlessMessagesAreLoggedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		w := &lastWords{log: zap.New(core)}
		for range 25 * 600 {
			fmt.Fprintln(w, "frame= 1")
			time.Sleep(40 * time.Millisecond)
		}
		if n := logs.Len(); n < 10 || n > 20 {
			t.Errorf("%d lines in ten minutes", n)
		}
		time.Sleep(3 * mostGap)
		n := logs.Len()
		fmt.Fprintln(w, "one")
		time.Sleep(2 * leastGap)
		fmt.Fprintln(w, "two")
		if logs.Len() != n+2 {
			t.Errorf("%d lines after a pause, want 2", logs.Len()-n)
		}
	})
}

// The read end is served by the poller: waiting must hold no thread.
func TestM1_WaitingReadHoldsNoThread(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]Source{
		"fifo": {Path: fifo(t)}, "command": {Command: []string{tool(t, "sleep", "coreutils"), "1000"}},
	} {
		_, s := openMain(t, src)
		if err := s.(*stream).in.file.SetReadDeadline(time.Now()); err != nil {
			t.Errorf("%s: not pollable: %v", name, err)
		}
	}
}
