package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
)

func (c *ctl) liveCommand() *cobra.Command {
	var playIt bool
	cmd := &cobra.Command{
		Use: "live [STREAM]", Short: "Print the RTSP addresses of the live streams, with the credential that opens them",
		Long: "Print the RTSP addresses of the live streams (main, sub), with the credential that opens them; " +
			"or, with --play, show one (default: main) with ffplay, without the credential on any command line.",
		Args: takes(0, 1, "one stream"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !slices.Contains(streamNames, args[0]) {
				return usage("live: no stream %.20q: want main or sub", args[0])
			}
			if playIt && c.json {
				return usage("live: --play prints nothing: without --json")
			}
			return c.live(cmd.Context(), append(args, "")[0], playIt)
		},
	}
	cmd.Flags().BoolVar(&playIt, "play", false, "play the stream with ffplay")
	return cmd
}

// live prints a credential: that is its purpose.
func (c *ctl) live(ctx context.Context, stream string, playIt bool) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	l, err := call(ctx, c, o, command.LiveGet, command.None{})
	if err != nil {
		return err
	}
	if playIt && stream == "" {
		stream = streamNames[0]
	}
	if stream != "" {
		if l.URLs[stream] == "" {
			return fmt.Errorf("live: the camera has no stream %q", stream)
		}
		l.URLs = map[string]string{stream: l.URLs[stream]}
	}
	urls, err := liveURLs(l)
	if err != nil {
		return err
	}
	if playIt {
		return play(ctx, player, o.camera.Label()+" "+stream, urls[stream], l.Password)
	}
	return c.show(urls, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(urls)) {
			fmt.Fprintf(w, "%s\t%s\n", name, urls[name])
		}
	})
}

// liveURLs puts the credential into the addresses. What is no RTSP address is
// refused: a player would open anything.
func liveURLs(l command.Live) (map[string]string, error) {
	out := map[string]string{}
	for name, text := range l.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "rtsp" && u.Scheme != "rtsps" || u.Host == "" {
			return nil, fmt.Errorf("live: the camera's address of stream %.20q is not an RTSP address", name)
		}
		u.User = url.UserPassword(l.User, l.Password)
		out[name] = u.String()
	}
	return out, nil
}

func (c *ctl) keyframeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keyframe [STREAM]", Short: "Make a stream (default: main) begin a new GOP", Args: takes(0, 1, "one stream"),
		RunE: func(cmd *cobra.Command, args []string) error {
			stream := "main"
			if len(args) > 0 {
				stream = args[0]
			}
			return c.keyframe(cmd.Context(), stream)
		},
	}
}

func (c *ctl) keyframe(ctx context.Context, stream string) error {
	if !slices.Contains(streamNames, stream) {
		return usage("keyframe: no stream %.20q: want main or sub", stream)
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	if _, err := call(ctx, c, o, command.KeyframeRequest, command.StreamName{Stream: stream}); err != nil {
		return err
	}
	return c.show(map[string]string{"stream": stream}, func(w io.Writer) { fmt.Fprintf(w, "%s: a key frame was requested\n", stream) })
}
