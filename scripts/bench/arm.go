package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// How many viewers are compared, and for how long: what does not depend on the
// viewers cancels out.
const (
	armFew    = 1
	armMany   = 11
	armWindow = 10 * time.Second
	armRounds = 2
)

// arm counts what the servers cost on 32-bit ARM, in instructions, by QEMU's
// user emulation: real programs, in real time, with viewers of this machine. It
// says nothing of what the kernel costs.
func (b *bench) arm(ctx context.Context) (figures []figure, err error) {
	e, err := newEmulator(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	ours, theirs, undo, err := b.armServers(ctx, e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	var a, c armCost
	for range armRounds {
		if err := e.measure(ctx, b, ours, "camagent", &a); err != nil {
			return nil, err
		}
		if err := e.measure(ctx, b, theirs, "floor", &c); err != nil {
			return nil, err
		}
	}
	return []figure{
		told("armv7 instructions a viewer and frame", median(a.viewer), "").against(median(c.viewer), 0),
		told("armv7 instructions a frame, all but viewers", median(a.rest), "").against(median(c.rest), 0),
	}, nil
}

// armCost is in instructions a frame.
type armCost struct{ viewer, rest []float64 }

// armServers are those of servers, emulated; undo puts the camera back.
func (b *bench) armServers(ctx context.Context, e *emulator) (ours, theirs server, undo func() error, err error) {
	if ours, theirs, err = b.servers(ctx); err != nil {
		return nil, nil, nil, err
	}
	for name, pkg := range map[string]string{"camagent": "./cmd/camagent", "floor": "./scripts/bench/floor"} {
		if err := e.wrap(ctx, name, pkg, b.program(name)); err != nil {
			return nil, nil, nil, errors.Join(err, b.link())
		}
	}
	return ours, theirs, b.link, nil
}

// emulator runs programs for ARM and counts their instructions.
type emulator struct {
	dir, qemu, plugin string
}

func newEmulator(ctx context.Context, dir string) (*emulator, error) {
	qemu, err := exec.LookPath("qemu-arm") // the static one knows no plugins
	if err != nil {
		return nil, fmt.Errorf("qemu-arm (Debian package qemu-user): %w", err)
	}
	e := &emulator{dir: filepath.Join(dir, "arm"), qemu: qemu}
	e.plugin = filepath.Join(e.dir, "instructions.so")
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return nil, err
	}
	cc := exec.CommandContext(ctx, "cc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", e.plugin, "scripts/bench/qemu/instructions.c")
	if out, err := cc.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cc (Debian package gcc): %w: %s", err, out)
	}
	return e, nil
}

func (e *emulator) counts(name string) string { return filepath.Join(e.dir, name+".counts") }

// wrap builds a program for ARM and puts a script that runs it, in the same
// process, in the place of the one of this machine.
func (e *emulator) wrap(ctx context.Context, name, pkg, place string) error {
	program := filepath.Join(e.dir, name)
	if err := buildARM(ctx, program, pkg); err != nil {
		return err
	}
	if err := os.Remove(place); err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s -plugin %s,into=%s %s \"$@\"\n", e.qemu, e.plugin, e.counts(name), program)
	return os.WriteFile(place, []byte(script), 0o700)
}

// buildARM builds a package of this module as for a camera.
func buildARM(ctx context.Context, file, pkg string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, pkg)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOARM=7")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s for armv7: %w: %s", pkg, err, out)
	}
	return nil
}

// measure adds one round of a server.
func (e *emulator) measure(ctx context.Context, b *bench, s server, name string, to *armCost) error {
	few, err := e.window(ctx, b, s, name, armFew)
	if err != nil {
		return fmt.Errorf("%s, %d viewers: %w", name, armFew, err)
	}
	many, err := e.window(ctx, b, s, name, armMany)
	if err != nil {
		return fmt.Errorf("%s, %d viewers: %w", name, armMany, err)
	}
	viewer := (many - few) / (armMany - armFew)
	to.viewer = append(to.viewer, viewer)
	to.rest = append(to.rest, few-armFew*viewer)
	return nil
}

// window returns the instructions a frame.
func (e *emulator) window(ctx context.Context, b *bench, s server, name string, viewers int) (n float64, err error) {
	url, _, err := s.start(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	crowd, err := startRole(ctx, "crowd", strconv.Itoa(viewers), url, b.film)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, crowd.end()) }()
	if err := crowd.expect("ready"); err != nil {
		return 0, err
	}
	if err := sleep(ctx, settle); err != nil {
		return 0, err
	}
	return e.count(ctx, name, crowd)
}

func (e *emulator) count(ctx context.Context, name string, crowd *child) (float64, error) {
	if err := crowd.tell("count"); err != nil {
		return 0, err
	}
	if err := crowd.expect("counting"); err != nil {
		return 0, err
	}
	before, err := e.instructions(name)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := sleep(ctx, armWindow); err != nil {
		return 0, err
	}
	after, err := e.instructions(name)
	if err != nil {
		return 0, err
	}
	frames := time.Since(began).Seconds() * filmFPS
	if err := crowd.tell("result"); err != nil {
		return 0, err
	}
	var got crowdResult
	if err := crowd.answer(&got); err != nil {
		return 0, err
	}
	if got.Lost > 0 {
		return 0, fmt.Errorf("%d frames were lost: the machine is too slow for this", got.Lost)
	}
	return (after - before) / frames, nil
}

// instructions is how many a program has run so far.
func (e *emulator) instructions(name string) (sum float64, err error) {
	b, err := os.ReadFile(e.counts(name))
	const step = 64 // STEP of instructions.c
	for ; len(b) >= step; b = b[step:] {
		sum += float64(binary.NativeEndian.Uint64(b))
	}
	return sum, err
}
