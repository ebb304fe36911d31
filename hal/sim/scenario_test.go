package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestM13_EveryMistakeInAScenarioIsToldWithItsLine(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.yaml")
	text := `about: [no]
author: me
script:
- {at: 10, walk: left}
- {at: 10s, walk: up}
- at: 1s
  jump: high
- {at: 1s, press: reset, unplug: }
- {at: 1s, light: 1001}
- {at: 1s, light: 20, level: 3}
- {at: 1s, unplug: 5s}
- {at: 1s, unplug: , for: 0s, every: 1ms}
- {at: 1s, stall: , for: 10s, every: 5s}
- {at: 1s, glass: , for: 10s}
- {at: -1s, clock: 10d}
- {at: 1s, tone: }
- hello
- {at: [1], loud: }
- {at: 1s}
- {at: 1s, loud: , loud: }
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadScenario(file)
	if err == nil {
		t.Fatal("it was taken")
	}
	want := []string{
		`1: about: want a text`,
		`2: unknown key "author": want about or script`,
		`4: at is "10", want a time like 10s, at most 1000h0m0s`,
		`5: walk: from is "up", want left or right`,
		`7: "jump" is no action: want one of light, `,
		`8: press and unplug in one entry: give each its own`,
		`9: light: level is "1001", want a number from 0 to 1000`,
		`10: unknown key "level": light takes over, for, at, every`,
		`11: unplug is "5s", want nothing behind it`,
		`12: for is 0s, want at least 10ms`,
		`12: every is 1ms, want at least 100ms`,
		`13: stall lasts 10s, but comes again every 5s: want a shorter for`,
		`14: unknown key "for": glass takes at, every`,
		`15: at is "-1s", want a time like 10s, at most 1000h0m0s`,
		`15: clock: step is "10d", want a time like 10s or -10s, at most 1h0m0s`,
		`16: tone: hertz is "", want a number from 20 to 3900`,
		`17: want an entry like {at: 10s, walk: left}`,
		`18: at: want one word, number or time`,
		`19: no action: want one of light, `,
		`20: loud stands twice`,
	}
	got := strings.Split(err.Error(), "\n")
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i], "scenario "+file+":"+w) {
			t.Errorf("line %d of the error: %q, want %q", i+1, append(got, "")[min(i, len(got))], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines: %s", len(got), err)
	}
}

func TestM13_FilesThatAreNoScenario(t *testing.T) {
	t.Parallel()
	if _, err := LoadScenario(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("missing: %v", err)
	}
	many := "script:\n" + strings.Repeat("- {glass: }\n", maxEvents+1)
	wrongs := "script:\n" + strings.Repeat("- {glas: }\n", maxProblems+5)
	for text, want := range map[string]string{
		"":                                "x:1: is empty, want script: with a list of what happens",
		"# nothing\n":                     "x:1: is empty",
		"hello":                           "x:1: want keys about and script",
		"about: x":                        "x:1: script is missing",
		"script: yes":                     "x:1: script: want a list",
		"script: [":                       "x: yaml: line 1",
		"\x00":                            "x: yaml",
		"script: []\nscript: []":          "x:2: script stands twice",
		"script: []\n---\nscript: []":     "x:3: a second document begins",
		"a: &a [*a]\nscript: *a":          "x:1: unknown key",
		many:                              "entries, want at most 1000: use every",
		wrongs:                            "and 5 more",
		strings.Repeat("#", 1e6):          "more than 262144 bytes",
		"script:\n- &x {glass: }\n- *x\n": "x:3: want an entry",
	} {
		_, err := ParseScenario("x", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "scenario x") {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	if s, err := ParseScenario("x", []byte("about: quiet\nscript: []")); err != nil || s.About() != "quiet" {
		t.Errorf("%v", err)
	}
}

// Every action can be scripted and triggered, by its usual arguments.
func TestM13_EveryActionCanBeScriptedAndTriggered(t *testing.T) {
	t.Parallel()
	for k, a := range actions {
		if a.name == "" || a.help == "" || int(kinds) != len(actions) {
			t.Fatalf("row %d of the table is empty", k)
		}
		value := ""
		if v := a.value; v != nil && !v.free {
			switch {
			case v.words != nil:
				value = v.words[0]
			case v.span > 0:
				value = "3s"
			default:
				value = fmt.Sprint(v.low + 1)
			}
		}
		entry := "{at: 5s, " + a.name + ": " + value
		line := []string{a.name, value}
		for _, p := range a.more {
			v := "3s"
			if p.span == 0 {
				v = fmt.Sprint(p.low)
			}
			entry += ", " + p.name + ": " + v
			line = append(line, p.name+"="+v)
		}
		if !a.brief {
			entry += ", for: 2s"
			line = append(line, "for=2s")
		}
		scripted := script(t, entry+", every: 10s}").events[0]
		if scripted.kind != kind(k) || scripted.at != 5*time.Second || scripted.every != 10*time.Second || !a.brief && scripted.lasts != 2*time.Second {
			t.Errorf("%s: %+v", entry, scripted)
		}
		triggered, err := parseLine(strings.Fields(strings.Join(line, " ")))
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		scripted.at, scripted.every = 0, 0
		if triggered != scripted {
			t.Errorf("%q: %+v, in a script %+v", line, triggered, scripted)
		}
		if !strings.Contains(Help(), "\n"+a.name) && !strings.HasPrefix(Help(), a.name) {
			t.Errorf("help leaves %s out", a.name)
		}
	}
}

func TestM13_EventsInTime(t *testing.T) {
	t.Parallel()
	s := script(t, "{at: 10s, cover: , for: 2s, every: 5s}", "{at: 3s, cover: , for: 1s}")
	var l timeline
	l[cover] = s.events
	covered := func(seconds float64) bool { return l.active(cover, time.Duration(seconds*float64(time.Second))) }
	for at, want := range map[float64]bool{0: false, 3: true, 3.99: true, 4: false, 9.99: false, 10: true, 11.99: true, 12: false, 15: true, 17: false, 50010.5: true, 50012.5: false} {
		if covered(at) != want {
			t.Errorf("at %v s: %v", at, !want)
		}
	}
	at, got := time.Duration(-1), []string{}
	for range 6 {
		at = l.border(at, cover, press)
		got = append(got, at.String())
	}
	if strings.Join(got, " ") != "3s 4s 10s 12s 15s 17s" {
		t.Errorf("borders at %v", got)
	}
	if _, ok := l.began(cover, 10*time.Second, 14*time.Second); ok {
		t.Error("nothing began after 10 s")
	}
	if _, ok := l.began(cover, 10*time.Second-1, 14*time.Second); !ok {
		t.Error("it began at 10 s")
	}
}

// The page is the contract: its examples are taken, and it leaves nothing out.
func TestM13_TheSimulatorsPageIsTrue(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 2 {
		t.Errorf("%d examples", len(blocks))
	}
	for i, b := range blocks {
		if _, err := ParseScenario(fmt.Sprintf("example %d", i+1), b[1]); err != nil {
			t.Error(err)
		}
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)([^`]*)` \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		rows[m[1]] = m[2]
	}
	for _, a := range actions {
		row, ok := rows[a.name]
		if !ok {
			t.Errorf("%s has no row", a.name)
		}
		for _, p := range a.more {
			if !strings.Contains(row, p.name) {
				t.Errorf("the row of %s leaves %s out", a.name, p.name)
			}
		}
		delete(rows, a.name)
	}
	for name := range rows {
		t.Errorf("%s is no action", name)
	}
	for _, m := range regexp.MustCompile("(?m)^    camagent sim (.*)$").FindAllStringSubmatch(string(page), -1) {
		if m[1] == "state" || m[1] == "help" {
			continue
		}
		if _, err := parseLine(strings.Fields(m[1])); err != nil {
			t.Errorf("camagent sim %s: %v", m[1], err)
		}
	}
}

func TestM13_TheScenariosOfTheProjectAreTaken(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/scenarios/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		s, err := LoadScenario(f)
		if err != nil {
			t.Error(err)
		} else if s.About() == "" {
			t.Errorf("%s doesn't say what it is about", f)
		}
	}
}

// S5: whatever a file holds, it is taken or refused by lines that name it.
func FuzzScenario(f *testing.F) {
	f.Add([]byte("about: x\nscript:\n- {at: 10s, walk: left, for: 5s, every: 1m}\n- {light: 20, over: 3s}\n"))
	f.Add([]byte("script: [{clock: -3s}, {press: reset}, {tone: 440, level: 3}]"))
	f.Add([]byte("script: &a\n- *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseScenario("x", data)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !strings.HasPrefix(line, "scenario x") && !strings.HasPrefix(line, "  ") {
					t.Fatalf("%q in %q", line, err)
				}
			}
			return
		}
		var l timeline
		for _, e := range s.events {
			l[e.kind] = append(l[e.kind], e)
		}
		for k := range kinds {
			for _, at := range []time.Duration{0, 1, time.Minute, 5000 * time.Hour} {
				if next := l.border(at, k); next <= at {
					t.Fatalf("after %v comes %v", at, next)
				}
				l.active(k, at)
				l.level(k, at, 0)
			}
		}
	})
}

// S5: whatever comes over the control socket gets one line.
func FuzzControlLine(f *testing.F) {
	for _, s := range []string{"state", "press reset for=3s", "light 100 over=5s", "walk", "unplug for=5s", "x=y", "", "clock -10s", "tone 440 level=101"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		b := New(Config{})
		answer := b.answer(line)
		if strings.Contains(answer, "\n") || len(answer) > maxReply || !strings.HasPrefix(answer, saidOK) && !strings.HasPrefix(answer, saidError) {
			t.Fatalf("%q: %q", line, answer)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
