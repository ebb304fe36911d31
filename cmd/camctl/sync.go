package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/mirror"
)

func (c *ctl) syncCommand() *cobra.Command {
	var follow bool
	var source sourceFlags
	cmd := &cobra.Command{
		Use: "sync DIR", Short: "Fetch, verify and decrypt all clips that are not in DIR yet",
		Long: "Fetch, verify and decrypt all clips that are not in DIR yet: CLIP.mp4, and CLIP.json with what the camera signed. " +
			"Nothing is ever deleted. A clip that is missing or forged is told in one line.",
		Args: takes(1, 1, "a folder"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.sync(cmd.Context(), args[0], follow, &source) },
	}
	source.define(cmd)
	cmd.Flags().BoolVar(&follow, "follow", false, "go on, and fetch clips as they arrive, until Ctrl-C")
	return cmd
}

func (c *ctl) sync(ctx context.Context, dir string, follow bool, source *sourceFlags) error {
	return c.from(ctx, source, func(_ owned, g *fetch.Getter) error { return c.syncFrom(ctx, g, dir, follow) })
}

func (c *ctl) syncFrom(ctx context.Context, g *fetch.Getter, dir string, follow bool) error {
	g.Retries = 0 // the mirror looks again by itself
	unlock, err := claimFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	m := &mirror.Mirror{Dir: dir, Getter: g, OnWarn: c.warn,
		OnClip: func(r mirror.Record) {
			// A reader that has gone must not stop the clips from being kept.
			_ = c.showLine(r, r.Name+".mp4: "+clipText(r))
		}}
	sum, err := m.Run(ctx, follow)
	switch {
	case follow && errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	case sum.Refused > 0:
		return fmt.Errorf("%d clips are not what the camera made, or not there, and were not kept", sum.Refused)
	}
	if !c.json {
		return c.showLine(sum, fmt.Sprintf("%d clips fetched, %d were there already", sum.Fetched, sum.Present))
	}
	return nil
}

// claimFolder makes the folder ours alone: two of us would fetch everything twice.
func claimFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	unlock, err = home.LockFile(now, filepath.Join(dir, ".camctl.lock"))
	if errors.Is(err, home.ErrLocked) {
		return nil, fmt.Errorf("another camctl sync is writing to %s", dir)
	}
	return unlock, err
}
