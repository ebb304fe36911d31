package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A camera has little memory, and little garbage: what lives is mostly frames,
// which the collector need not look into. So the heap may be tight, and what
// only the start needed is given back once it is over.
const (
	gcPercent = 40
	startOver = 5 * time.Second
	trimEvery = time.Minute
)

// stayLean gives memory back until stop is called.
func stayLean(ctx context.Context, log *zap.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { trim(ctx, log) })
	return func() {
		cancel()
		beside.Wait()
	}
}

// trim gives back the heap's free pages once, after the start (the runtime does
// so itself later on), and again and again the pages of the program that were
// used only in passing: for the start, a pairing, a viewer's arrival.
func trim(ctx context.Context, log *zap.Logger) {
	timer := time.NewTimer(startOver)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if first {
			debug.FreeOSMemory()
		}
		if err := unmapProgram(); err != nil {
			log.Debug("the program's own pages stay where they are", zap.Error(err))
			return
		}
		timer.Reset(trimEvery)
	}
}

// unmapProgram lets go of the pages of the program's code and constants. They
// stay in the kernel's page cache, from which the next access maps them again
// without reading the disk; those that nobody accesses the kernel may now use
// for something else. That is safe whatever runs meanwhile, as only mappings are
// given back that can't be written and whose pages are all the file's.
func unmapProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := constants(f, exe)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	for _, s := range list {
		// Not unix.Madvise: it takes a slice, and these are no pointers of Go's.
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); e != 0 {
			return fmt.Errorf("madvise: %w", e)
		}
	}
	return nil
}

// span is a range of addresses.
type span struct{ from, to uintptr }

// constants reads from smaps (proc(5)) which mappings of a file can't be written
// and hold nothing but the file's bytes. A page that was written before it was
// protected, by the dynamic loader or a debugger, is counted as anonymous there,
// and would be lost.
func constants(smaps io.Reader, file string) ([]span, error) {
	var list []span
	var ours string // the range, in the lines that tell about a mapping to be taken
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) < 2:
		case !strings.HasSuffix(f[0], ":"):
			ours = ""
			if private(f[1]) && strings.HasSuffix(lines.Text(), " "+file) {
				ours = f[0]
			}
		case ours != "" && f[0] == "Anonymous:" && f[1] == "0":
			at, err := parseSpan(ours)
			if err != nil {
				return nil, err
			}
			list = append(list, at)
		}
	}
	return list, lines.Err()
}

func parseSpan(s string) (span, error) {
	from, to, _ := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
	b, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
	return span{uintptr(a), uintptr(b)}, errors.Join(err1, err2)
}

// private tells whether a mapping is one's own, to be read and not written.
func private(perm string) bool { return perm == "r-xp" || perm == "r--p" }
