package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/api"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
)

func (c *ctl) clipsCommand() *cobra.Command {
	var onCard bool
	var prefix string
	cmd := &cobra.Command{
		Use: "clips", Short: "List the clips in the cloud, or on the camera's card", Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if onCard && prefix != "" {
				return usage("clips: --on-card lists all: --prefix is for the cloud's list")
			}
			if onCard {
				return c.clipsOnCard(cmd.Context())
			}
			return c.clips(cmd.Context(), prefix)
		},
	}
	cmd.Flags().BoolVar(&onCard, "on-card", false, "ask the camera what lies on its card")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only names that begin so: 20260102 is a day, 20260102T03 an hour")
	return cmd
}

func (c *ctl) clips(ctx context.Context, prefix string) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	g, done, err := c.getter(o)
	if err != nil {
		return err
	}
	defer done()
	list, err := g.List(ctx, api.ObjectQuery{Prefix: prefix})
	if err != nil {
		return explainCloud(err)
	}
	if list == nil {
		list = []fetch.Listed{}
	}
	return c.show(list, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintln(w, "no clips")
		}
		for _, l := range list {
			note := ""
			if !l.Complete {
				note = "\tits manifest is not there yet"
			}
			fmt.Fprintf(w, "%s\t%s\t%s%s\n", l.Name, l.Time, bytesText(l.Size), note)
		}
	})
}

func (c *ctl) clipsOnCard(ctx context.Context) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	list := []command.CardClip{}
	err = c.session(ctx, o, func(s *remote.Session) error {
		list, err = cardClips(ctx, s)
		return err
	})
	if err != nil {
		return err
	}
	return c.show(list, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintln(w, "no clips")
		}
		for _, l := range list {
			state := "waits for upload"
			if l.Uploaded {
				state = "uploaded"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Name, bytesText(l.Size), state)
		}
	})
}

// cardClips reads all pages; newest first.
func cardClips(ctx context.Context, s command.Caller) ([]command.CardClip, error) {
	list := []command.CardClip{}
	var q command.ClipsQuery
	for {
		page, err := command.ClipsList.Call(ctx, s, q)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Clips...)
		if !page.More || len(page.Clips) == 0 {
			return list, nil
		}
		last := page.Clips[len(page.Clips)-1].Name
		if q.Before != "" && last >= q.Before {
			return nil, fmt.Errorf("clips: the camera's list repeats itself")
		}
		q.Before = last
	}
}
