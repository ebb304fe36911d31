package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
)

func (c *ctl) recordCommand() *cobra.Command {
	return &cobra.Command{
		Use: "record start|stop|DURATION", Short: "Record now, whatever mode and schedule say",
		Long: "Record now, whatever mode and schedule say: until stop, or for a while (1s to 24h).\n" +
			"The clip ends with the next key frame. A restart of the camera ends the recording.",
		Example: "  camctl record 10s\n  camctl record start\n  camctl record stop",
		Args:    takes(1, 1, "start, stop or a duration"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.record(cmd.Context(), args[0]) },
	}
}

func (c *ctl) record(ctx context.Context, what string) error {
	long, err := recordFor(what)
	if err != nil {
		return err
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	var st command.RecordingStatus
	if what == "stop" {
		st, err = call(ctx, c, o, command.RecordingStop, command.None{})
	} else {
		st, err = call(ctx, c, o, command.RecordingStart, command.RecordFor{For: long.Milliseconds()})
	}
	if err != nil {
		return err
	}
	return c.show(st, func(w io.Writer) { fmt.Fprintf(w, "recording\t%s\n", recordingText(st)) })
}

// recordFor is how long to record; 0: without end.
func recordFor(what string) (time.Duration, error) {
	if what == "start" || what == "stop" {
		return 0, nil
	}
	long, err := time.ParseDuration(what)
	if err != nil || long < time.Second || long > command.MaxRecordFor {
		return 0, usage("record: is %.40q, want start, stop, or 1s to 24h, as 10s or 5m", what)
	}
	return long, nil
}

// recordingText says what is recorded, and why.
func recordingText(st command.RecordingStatus) string {
	text := "off"
	switch {
	case st.Event != "":
		text = fmt.Sprintf("event %s (%s)", st.Event, st.Trigger)
	case st.Trigger != "":
		text = "on (" + st.Trigger + ")"
	case st.Now == command.RecordEvents:
		text = "waits for events"
	}
	if st.Command && st.Left > 0 {
		text += fmt.Sprintf(", on command for another %v", (time.Duration(st.Left) * time.Millisecond).Round(time.Second))
	} else if st.Command {
		text += ", on command until stop"
	}
	text += ", mode " + st.Mode
	if st.Now != "" && st.Now != st.Mode {
		text += ", by the schedule " + st.Now
	}
	return text
}
