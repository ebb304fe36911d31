package haltest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// label marks the goroutines of a run.
const label = "haltest"

// leaveWithin is how long what a board started may take to be gone.
const leaveWithin = 2 * time.Second

// leftovers are what a process has: open files and children, each with what it is.
type leftovers struct{ files, children map[string]string }

func (s *subject) left() leftovers {
	if s.Shared {
		return leftovers{}
	}
	return leftovers{openFiles(), childProcesses()}
}

// openFiles lists the process's file descriptors.
func openFiles() map[string]string {
	list := map[string]string{}
	// The runtime opens descriptors of its own with the first pipe, and keeps them.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		to, err := os.Readlink(l)
		if err == nil { // else gone meanwhile
			list[filepath.Base(l)+" "+to] = to
		}
	}
	return list
}

// childProcesses lists the process's children, dead ones that nobody waited
// for included.
func childProcesses() map[string]string {
	list := map[string]string{}
	own := strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		// pid (name) state parent …; the name may hold anything.
		end := bytes.LastIndexByte(b, ')')
		if end < 0 {
			continue
		}
		if f := strings.Fields(string(b[end+1:])); len(f) > 1 && f[1] == own {
			list[string(b[:end+1])] = f[0]
		}
	}
	return list
}

// goroutines lists the innermost functions of the goroutines that stem from
// this run and are not of the suite itself.
func (s *subject) goroutines() []string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return nil
	}
	var list []string
	for _, g := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(g, strconv.Quote(s.id)) && !strings.Contains(g, "hal/haltest.") {
			list = append(list, innermost(g))
		}
	}
	return list
}

// innermost is the first function of a goroutine that is not the runtime's.
func innermost(g string) string {
	place := ""
	for l := range strings.Lines(g) {
		f := strings.Fields(l)
		if len(f) < 4 || !strings.HasPrefix(f[1], "0x") {
			continue
		}
		place = f[2] + " " + filepath.Base(f[3])
		if !strings.HasPrefix(f[2], "runtime.") && !strings.HasPrefix(f[2], "internal/") && !strings.HasPrefix(f[2], "sync.") {
			break
		}
	}
	return place
}

func leftoverCases() []Case {
	const promise = "Close leaves no goroutine, process or file descriptor behind."
	return []Case{
		{"no-goroutine-left", promise, "a reader that waits on a channel nobody writes to any more", 20 * time.Second, noGoroutineLeft},
		{"no-file-left", promise, "an error path that returns without closing the device", 20 * time.Second, noFileLeft},
		{"no-process-left", promise, "a child that was killed but not waited for, or the child of a child", 20 * time.Second, noProcessLeft},
	}
}

// closed has opened the board and closed it again.
func (s *subject) closed(ctx context.Context) error {
	if _, err := s.board(ctx); err != nil {
		return err
	}
	return s.close()
}

// noneLeft waits until left lists nothing.
func noneLeft(ctx context.Context, left func() []string) error {
	var last []string
	ok, err := eventually(ctx, leaveWithin, func() (bool, error) {
		last = left()
		return len(last) == 0, nil
	})
	if ok || err != nil {
		return err
	}
	slices.Sort(last)
	return fmt.Errorf("%d left after all was closed: %s", len(last), strings.Join(slices.Compact(last), "; "))
}

func noGoroutineLeft(ctx context.Context, s *subject) error {
	if err := s.closed(ctx); err != nil {
		return err
	}
	return noneLeft(ctx, s.goroutines)
}

func noFileLeft(ctx context.Context, s *subject) error {
	return s.nothingNew(ctx, s.before.files, openFiles)
}

func noProcessLeft(ctx context.Context, s *subject) error {
	return s.nothingNew(ctx, s.before.children, childProcesses)
}

func (s *subject) nothingNew(ctx context.Context, before map[string]string, list func() map[string]string) error {
	if s.Shared {
		return lacks("others use this process too")
	}
	if err := s.closed(ctx); err != nil {
		return err
	}
	return noneLeft(ctx, func() []string {
		now := list()
		maps.DeleteFunc(now, func(k, _ string) bool { _, had := before[k]; return had })
		return slices.Collect(maps.Keys(now))
	})
}
