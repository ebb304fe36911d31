package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cloud"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/files"
	"iid2secure.nl/camagent/cmd/camctl/internal/mirror"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

func (c *ctl) getCommand() *cobra.Command {
	var out string
	var sealed bool
	cmd := &cobra.Command{
		Use: "get CLIP -o FILE.mp4", Short: "Fetch, verify and decrypt one clip", Args: takes(1, 1, "the name of a clip"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.get(cmd.Context(), args[0], out, sealed) },
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file for the clip; - is standard output")
	cmd.Flags().BoolVar(&sealed, "sealed", false, "keep the sealed file beside it, as FILE.mp4.age")
	return cmd
}

func (c *ctl) get(ctx context.Context, name, out string, sealed bool) error {
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".age"), ".mp4")
	if !verify.Name(name) {
		return usage("get: %.60q is not the name of a clip: see camctl clips", name)
	}
	if err := c.checkOutput(out); err != nil {
		return err
	}
	if sealed && out == "-" {
		return usage("get: --sealed needs -o FILE")
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	g, done, err := c.getter(o)
	if err != nil {
		return err
	}
	defer done()
	clip, err := g.Manifest(ctx, name)
	if err != nil {
		return explainCloud(err)
	}
	if g.Progress = c.progress(name); g.Progress != nil {
		defer g.Progress(0, 0)
	}
	if out == "-" {
		return explainCloud(c.getToOutput(ctx, g, clip))
	}
	rec, err := getToFile(ctx, g, clip, out, sealed)
	if err != nil {
		return explainCloud(err)
	}
	return c.show(rec, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", out, clipText(rec)) })
}

func getToFile(ctx context.Context, g *fetch.Getter, clip verify.Clip, out string, sealed bool) (mirror.Record, error) {
	dst, err := files.Create(out)
	if err != nil {
		return mirror.Record{}, err
	}
	defer dst.Abort()
	keep := ""
	if sealed {
		keep = out + ".age"
	}
	details, err := g.Clip(ctx, clip, dst, out+".age", keep)
	if err != nil {
		return mirror.Record{}, err
	}
	return mirror.NewRecord(clip, details), dst.Commit()
}

// getToOutput keeps the ciphertext in a temporary file until it is verified:
// nothing goes out before.
func (c *ctl) getToOutput(ctx context.Context, g *fetch.Getter, clip verify.Clip) error {
	_, err := g.Clip(ctx, clip, c.out, filepath.Join(os.TempDir(), clip.Name+cloud.ExtClip), "")
	if errors.Is(err, os.ErrClosed) {
		return errors.New("standard output is closed")
	}
	return err
}

// clipText says what a verified clip is.
func clipText(r mirror.Record) string {
	return fmt.Sprintf("%s %d, %s, %.1f s, %d frames, verified", r.Stream, r.Sequence, r.Details.Started,
		(time.Duration(r.Details.DurationMS) * time.Millisecond).Seconds(), r.Details.Frames)
}
