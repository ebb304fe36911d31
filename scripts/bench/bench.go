package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/scripts/port"
	"iid2secure.nl/camagent/scripts/stack"
)

// bench is a camera with its cloud and its owner, in a folder of its own.
type bench struct {
	bin, dir string
	film     string
	stack    *stack.Stack
	url      string // of main, with the credential
}

// open starts the stack and binds the camera, which is stopped then.
func open(ctx context.Context, bin, cache string) (*bench, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	b := &bench{bin: bin}
	if b.film, err = makeFilm(ctx, cache); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "camagent-bench-"); err != nil {
		return nil, err
	}
	if err := errors.Join(b.link(), b.bind(ctx)); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) bind(ctx context.Context) error {
	address, err := port.Free()
	if err != nil {
		return err
	}
	if b.stack, err = stack.New(ctx, stack.Options{Bin: b.program(""), Dir: b.dir, RTSP: address}); err != nil {
		return err
	}
	if err := b.stack.Start(ctx); err != nil {
		return err
	}
	live, err := b.stack.WaitLive(ctx)
	if err != nil {
		return err
	}
	b.url = live["main"]
	return b.stack.Camera.Stop()
}

// programs are what is run.
var programs = []string{"camagent", "camctl", "camcloud", "versitygw", "floor"}

// program is where one is run from.
func (b *bench) program(name string) string { return filepath.Join(b.dir, "bin", name) }

// link gives every program its place.
func (b *bench) link() error {
	if err := os.MkdirAll(b.program(""), 0o700); err != nil {
		return err
	}
	for _, name := range programs {
		if err := os.Remove(b.program(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Join(b.bin, name), b.program(name)); err != nil {
			return err
		}
	}
	return nil
}

// close is called once, also for what was opened in part.
func (b *bench) close() error {
	var err error
	if b.stack != nil {
		err = b.stack.Close()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// servers are the camera with the film, which does not record, and the floor.
func (b *bench) servers(ctx context.Context) (ours, theirs server, err error) {
	if err := b.useFilm(ctx); err != nil {
		return nil, nil, err
	}
	return &camagent{stack: b.stack, url: b.url}, &floor{program: b.program("floor"), film: b.film}, nil
}

// useFilm gives the camera the film to play; it serves, and does nothing else:
// what it has recorded so far is uploaded before.
func (b *bench) useFilm(ctx context.Context) error {
	camera, err := filmCamera(b.film)
	if err != nil {
		return err
	}
	b.stack.Configure(camera)
	return b.set(ctx, "recording=off", func(st command.Status) bool { return !st.Recording.Active && st.Upload.Pending == 0 })
}

// set changes a setting of the camera, which is started for that, and waits
// until its status is as wanted.
func (b *bench) set(ctx context.Context, setting string, wanted func(command.Status) bool) error {
	if err := b.stack.StartCamera(); err != nil {
		return err
	}
	if _, err := b.stack.WaitLive(ctx); err != nil {
		return err
	}
	if _, err := b.stack.Ctl(ctx, "set", setting); err != nil {
		return fmt.Errorf("camctl set %s: %w", setting, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var st command.Status
		if err := b.stack.CtlJSON(ctx, &st, "status"); err != nil {
			return fmt.Errorf("waiting for the camera after %s: %w", setting, err)
		}
		if wanted(st) {
			return b.stack.Camera.Stop()
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
