// Bench is `make bench`: it measures what docs/performance.md says, with the
// built programs on this machine, and prints a table. Each figure is also a
// JSON line in --out. It judges by the limits and exits 1 if one is missed.
// What a figure can be compared with is measured in the same minutes: package
// floor is the least that a server in Go can do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the built programs, floor among them")
	cache := flag.String("cache", ".run", "folder that keeps the film")
	out := flag.String("out", "", "file for the figures as JSON lines")
	only := flag.String("only", "", "parts to measure, by commas: "+strings.Join(partNames(), ", ")+"; all but arm if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if flag.NArg() > 0 {
		os.Exit(inRole(ctx, flag.Args()))
	}
	figures, err := measure(ctx, *bin, *cache, *only)
	ok, werr := report(os.Stdout, *out, figures)
	if err = errors.Join(err, werr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// inRole is the exit code.
func inRole(ctx context.Context, args []string) int {
	known, err := role(ctx, args)
	switch {
	case !known:
		fmt.Fprintf(os.Stderr, "bench: unknown role %q\n", args)
		return 2
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", args[0], err)
		return 1
	}
	return 0
}

// parts are measured one after the other; each leaves the camera stopped.
func parts() []part {
	return []part{
		{"load", (*bench).underLoad},
		{"replay", (*bench).replay},
		{"late", (*bench).late},
		{"churn", (*bench).churn},
		{"alloc", (*bench).inProcess},
		{"whole", (*bench).whole},
		{"clips", (*bench).clips},
		{"size", (*bench).size},
		{"arm", (*bench).arm},
	}
}

type part struct {
	name string
	run  func(*bench, context.Context) ([]figure, error)
}

// wanted tells whether a part is measured. Emulation is for those who ask for it.
func (p part) wanted(only string) bool {
	if only == "" {
		return p.name != "arm"
	}
	return slices.Contains(strings.Split(only, ","), p.name)
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// measure runs the parts; what was measured before an error is returned with it.
func measure(ctx context.Context, bin, cache, only string) (figures []figure, err error) {
	b, err := open(ctx, bin, cache)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, p := range parts() {
		if !p.wanted(only) {
			continue
		}
		began := time.Now()
		list, err := p.run(b, ctx)
		figures = append(figures, list...)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", p.name, time.Since(began).Round(time.Second))
	}
	return figures, nil
}
