package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"

	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
)

func (c *ctl) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what the camera is, does, and suffers from", Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context()) },
	}
}

func (c *ctl) status(ctx context.Context) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	var st reachedStatus
	err = c.session(ctx, o, func(s *remote.Session) (err error) {
		st.Status, err = command.StatusGet.Call(ctx, s, command.None{})
		st.By = s.Way()
		return err
	})
	if err != nil {
		return err
	}
	c.sawHeads(o, st.Status)
	return c.show(st, func(w io.Writer) {
		fmt.Fprintf(w, "camera\t%s\n", o.camera.Label())
		fmt.Fprintf(w, "reached by\t%s\n", st.By)
		writeStatus(w, st.Status)
	})
}

// reachedStatus is a status, and by what it was had.
type reachedStatus struct {
	command.Status

	By string `json:"reached_by"`
}

// call runs one command of the catalogue in a session of its own.
func call[A, R any](ctx context.Context, c *ctl, o owned, d command.Definition[A, R], args A) (R, error) {
	var reply R
	err := c.session(ctx, o, func(s *remote.Session) (err error) {
		reply, err = d.Call(ctx, s, args)
		return err
	})
	return reply, err
}

func writeStatus(w io.Writer, st command.Status) {
	fmt.Fprintf(w, "version\t%s\n", st.Version)
	fmt.Fprintf(w, "up for\t%v\n", (time.Duration(st.Uptime) * time.Millisecond).Round(time.Second))
	fmt.Fprintf(w, "clock\t%s%s\n", st.Time, clockText(st.Clock))
	if st.Site != nil {
		fmt.Fprintf(w, "site\t%s\n", siteText(*st.Site))
	}
	fmt.Fprintf(w, "board\t%s %s\n", st.Board.Board, st.Board.Model)
	fmt.Fprintf(w, "can\t%s\n", capabilitiesText(st.Capabilities))
	for _, s := range st.Streams {
		writeStream(w, s)
	}
	writeLiveStatus(w, st.Live)
	open := ""
	if st.Recording.Active {
		open = ", a clip is open"
	}
	fmt.Fprintf(w, "recording\t%s%s, %d clips since start\n", recordingText(st.Recording), open, st.Recording.Clips)
	fmt.Fprintf(w, "microphone\t%s\n", onOff(st.Microphone))
	fmt.Fprintf(w, "card\t%s of %s, %d objects\n", bytesText(st.Card.Used), limitText(st.Card.Limit), st.Card.Clips)
	writeUpload(w, st.Upload)
	for _, name := range slices.Sorted(maps.Keys(st.Chains)) {
		fmt.Fprintf(w, "chain\t%s: %d clips signed\n", name, st.Chains[name].Sequence)
	}
	for _, p := range st.Conditions {
		fmt.Fprintf(w, "problem\t%s: %s (since %s)\n", p.Code, p.Message, p.Since)
	}
}

// writeUpload tells what waits, what is on its way, and what hinders it.
func writeUpload(w io.Writer, u command.UploadStatus) {
	fmt.Fprintf(w, "upload\t%d waiting (%s), %d done\n", u.Pending, bytesText(u.Bytes), u.Done)
	if u.Oldest != "" {
		fmt.Fprintf(w, "\tthe oldest is of %s\n", u.Oldest)
	}
	for _, s := range u.Sending {
		fmt.Fprintf(w, "\tsends %s (%s), %s of %s\n", s.File, s.Lane, bytesText(s.Sent), bytesText(s.Size))
	}
	if u.Retries+u.Refused > 0 {
		fmt.Fprintf(w, "\tfailed: %d attempts; %d objects stepped aside\n", u.Retries, u.Refused)
	}
	if u.Error != "" {
		fmt.Fprintf(w, "\tthe last attempt: %s\n", u.Error)
	}
	if u.NextTry != "" {
		fmt.Fprintf(w, "\tthe next try is at %s\n", u.NextTry)
	}
}

func clockText(c cloud.Clock) string {
	if c.Synced {
		return fmt.Sprintf(", synchronised to %d ms", c.UncertaintyMS)
	}
	return ", not synchronised"
}

func siteText(s command.SiteStatus) string {
	switch {
	case s.Pinned:
		return s.Name + ", pinned"
	case s.Home != "" && s.Home != s.Name:
		return s.Name + ", as home is away: " + s.Home
	}
	return cmp.Or(s.Name, "none yet")
}

func writeStream(w io.Writer, s command.StreamStatus) {
	state := "stopped"
	if s.Running {
		state = "running"
	}
	fmt.Fprintf(w, "%s\t%s, %d×%d, %d fps, GOP %d, %d kbit/s\n",
		s.Name, state, s.Config.Width, s.Config.Height, s.Config.FPS, s.Config.GOP, s.Config.Bitrate/1000)
	fmt.Fprintf(w, "\t%d frames, %d lost, opened %d×, failed %d×\n", s.Frames, s.Lost, s.Opens, s.Failures)
}

func writeLiveStatus(w io.Writer, l command.LiveStatus) {
	fmt.Fprintf(w, "live\t%d viewers, %d connections, %d frames sent (%s)\n", l.Viewers, l.Connections, l.Frames, bytesText(int64(l.Bytes)))
	if l.Skips+l.Timeouts > 0 {
		fmt.Fprintf(w, "\ttoo slow: %d× put forward to a key frame, %d× dropped\n", l.Skips, l.Timeouts)
	}
	if l.Refused+l.WrongAnswers+l.Blocked > 0 {
		fmt.Fprintf(w, "\trefused: %d over the limit, %d wrong passwords, %d for too many of those\n", l.Refused, l.WrongAnswers, l.Blocked)
	}
	if l.Handshakes+l.Malformed > 0 {
		fmt.Fprintf(w, "\tended: %d without a TLS handshake, %d for what came over them\n", l.Handshakes, l.Malformed)
	}
	for _, s := range l.Sessions {
		fmt.Fprintf(w, "viewer\t%s from %s: %s over %s since %s, %d frames", s.Member, s.Address, s.Stream, s.Transport, s.Since, s.Frames)
		if s.Skips > 0 {
			fmt.Fprintf(w, ", too slow %d×", s.Skips)
		}
		fmt.Fprintln(w)
	}
	if l.Talking != "" {
		fmt.Fprintf(w, "talks\t%s\n", l.Talking)
	}
}

// capabilitiesText lists what the camera can do, and how if it is not by its hardware.
func capabilitiesText(list []hal.Capability) string {
	if len(list) == 0 {
		return "nothing but video"
	}
	words := make([]string, len(list))
	for i, c := range list {
		words[i] = c.String()
	}
	return strings.Join(words, ", ")
}

func limitText(n int64) string {
	if n == 0 {
		return "what the card holds"
	}
	return bytesText(n)
}
