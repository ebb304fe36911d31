package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"

	"iid2secure.nl/camagent/cmd/camctl/internal/files"
)

func (c *ctl) snapshotCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "snapshot -o FILE.jpg", Short: "Take a picture now", Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.snapshot(cmd.Context(), out) },
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file for the picture; - is standard output")
	return cmd
}

func (c *ctl) snapshot(ctx context.Context, out string) error {
	if err := c.checkOutput(out); err != nil {
		return err
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	shot, err := call(ctx, c, o, command.SnapshotTake, command.None{})
	if err != nil {
		return err
	}
	jpeg, err := c.openSnapshot(ctx, o, shot)
	if err != nil {
		return err
	}
	if out == "-" {
		_, err := c.out.Write(jpeg)
		return err
	}
	if err := files.Write(out, jpeg); err != nil {
		return err
	}
	v := map[string]any{"name": shot.Name, "file": out, "size": len(jpeg), "stored": shot.Stored}
	return c.show(v, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", out, bytesText(int64(len(jpeg)))) })
}

// checkOutput refuses a missing -o, and JSON mixed with the bytes of a file.
func (c *ctl) checkOutput(out string) error {
	if out == "" {
		return usage("want -o FILE, or -o - for standard output")
	}
	if out == "-" && c.json {
		return usage("-o - and --json both want standard output")
	}
	return nil
}

// openSnapshot opens the sealed picture: from the store that the camera names,
// or from its reply, if the store was away.
func (c *ctl) openSnapshot(ctx context.Context, o owned, shot command.Snapshot) ([]byte, error) {
	if len(shot.Sealed) > 0 {
		return c.opener(o).OpenPicture(bytes.NewReader(shot.Sealed), shot.Size, shot.SHA256)
	}
	if !shot.Stored {
		return nil, errors.New("snapshot: the camera took a picture, but neither stored nor sent it")
	}
	g, done, err := c.getter(o)
	if err != nil {
		return nil, err
	}
	defer done()
	jpeg, err := g.Picture(ctx, shot.Name, shot.Size, shot.SHA256)
	return jpeg, explainCloud(err)
}
