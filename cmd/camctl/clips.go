package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/clock"

	"iid2secure.nl/camagent/cmd/camctl/internal/card"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// choice says which clips are meant.
type choice struct {
	source  sourceFlags
	between rangeFlags
	prefix  string
	stream  string
	kinds   []string
	event   string
	details bool
	unknown int // clips of which nobody can tell whether they are meant
}

// kindNames are what clips can be recorded for.
var kindNames = []string{"continuous", "schedule", "command", "motion"}

func (f *choice) define(cmd *cobra.Command) {
	f.source.define(cmd)
	f.between.define(cmd)
	cmd.Flags().StringVar(&f.stream, "stream", "", "only clips of this stream: "+strings.Join(streamNames, " or "))
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only clips that were recorded for this: "+strings.Join(kindNames, ", "))
	cmd.Flags().StringVar(&f.event, "event", "", "only clips of this event")
}

// check refuses what no clip can be: it would be taken for "there are none".
func (f *choice) check() error {
	if f.stream != "" && !slices.Contains(streamNames, f.stream) {
		return usage("--stream: is %.40q, want %s", f.stream, strings.Join(streamNames, " or "))
	}
	for _, k := range f.kinds {
		if !slices.Contains(kindNames, k) {
			return usage("--kind: is %.40q, want %s, or several by commas", k, strings.Join(kindNames, ", "))
		}
	}
	return f.source.check()
}

// sure returns err, or an error if clips that may be meant are left out.
func (f *choice) sure(err error) error {
	if err == nil && f.unknown > 0 && f.picky() {
		return fmt.Errorf("%s left out that may be meant: nobody can tell without the manifest", counted(f.unknown, "clip is", "clips are"))
	}
	return err
}

// picky tells whether what manifests say decides.
func (f *choice) picky() bool { return f.stream != "" || len(f.kinds) > 0 || f.event != "" }

func (f *choice) has(s fetch.Said) bool {
	return (f.stream == "" || s.Stream == f.stream) && (f.event == "" || s.What.Event == f.event) &&
		(len(f.kinds) == 0 || slices.Contains(f.kinds, s.What.Trigger))
}

// clipLine is a clip in a list. What follows Uploaded is known once its manifest
// has been opened and verified.
type clipLine struct {
	Name     string `json:"name"`
	Time     string `json:"time"` // its beginning, as far as it is known now, RFC 3339
	Size     int64  `json:"size"` // of the sealed file
	Modified int64  `json:"modified,omitempty"`
	Complete bool   `json:"complete"`           // clip and manifest are both there
	Uploaded *bool  `json:"uploaded,omitempty"` // told by the card alone

	Stream     string `json:"stream,omitempty"`
	Sequence   uint64 `json:"sequence,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Event      string `json:"event,omitempty"`
	DurationMS int64  `json:"duration_ms,omitempty"`
	Frames     int    `json:"frames,omitempty"`
	Cut        bool   `json:"cut,omitempty"`
	Unsynced   bool   `json:"unsynced,omitempty"` // the camera did not know the time
	Redated    bool   `json:"redated,omitempty"`  // Time is by a later clip of the same start of the camera

	said  *fetch.Said
	begin time.Time
}

func (c *ctl) clipsCommand() *cobra.Command {
	var f choice
	cmd := &cobra.Command{
		Use: "clips", Short: "List the clips in the cloud, in a bucket, or on the camera's card", Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.clips(cmd.Context(), &f) },
	}
	f.define(cmd)
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "only names that begin so: 20260102 is a day, 20260102T03 an hour")
	cmd.Flags().BoolVar(&f.details, "details", false, "open the manifests: stream, kind, length, and when a camera without the time recorded it")
	return cmd
}

func (c *ctl) clips(ctx context.Context, f *choice) error {
	if f.source.onCard && f.prefix != "" {
		return usage("clips: --on-card lists all: use --from and --to")
	}
	if err := f.check(); err != nil {
		return err
	}
	list := []clipLine{}
	err := c.from(ctx, &f.source, func(o owned, g *fetch.Getter) (err error) {
		list, err = c.choose(ctx, o, g, f)
		return err
	})
	if err != nil {
		return err
	}
	err = c.show(list, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintln(w, "no clips")
		}
		for _, l := range list {
			fmt.Fprintln(w, strings.TrimRight(l.text(), "\t"))
		}
	})
	return f.sure(err)
}

func (l clipLine) text() string {
	cells := []string{l.Name, l.Time, bytesText(l.Size)}
	if l.said != nil {
		cells = append(cells, l.Stream, l.Kind, fmt.Sprintf("%.1f s", float64(l.DurationMS)/1000), l.Event)
	}
	return strings.Join(append(cells, strings.Join(l.notes(), ", ")), "\t")
}

func (l clipLine) notes() (notes []string) {
	add := func(is bool, text string) {
		if is {
			notes = append(notes, text)
		}
	}
	add(!l.Complete, "its manifest is not there yet")
	add(l.Uploaded != nil && *l.Uploaded, "uploaded")
	add(l.Uploaded != nil && !*l.Uploaded, "waits for upload")
	add(l.Cut, "cut by a power failure")
	add(l.Unsynced && l.Redated, "its clock was not set yet: dated by a later clip")
	add(l.Unsynced && !l.Redated, "by a clock that was not set")
	return notes
}

// choose lists the clips that are meant, in the order of their times.
func (c *ctl) choose(ctx context.Context, o owned, g *fetch.Getter, f *choice) ([]clipLine, error) {
	from, to, err := f.between.times(time.Now())
	if err != nil {
		return nil, err
	}
	q := api.ObjectQuery{Prefix: f.prefix, To: to}
	if !from.IsZero() {
		q.From = from.Add(-overlap)
	}
	lines, err := c.lines(ctx, g, q)
	if err != nil {
		return nil, err
	}
	known := o.known(g.Camera)
	if f.prefix == "" && f.between.set() {
		if lines, err = c.addRedated(ctx, g, known, lines, from, to); err != nil {
			return nil, err
		}
	}
	if f.details || f.picky() {
		if f.unknown, err = c.describe(ctx, g, known, lines); err != nil {
			return nil, err
		}
	}
	date(lines, known)
	kept := lines[:0]
	for _, l := range lines {
		if (l.said != nil && f.has(*l.said) || l.said == nil && !f.picky()) && l.within(from, to) {
			kept = append(kept, l)
		}
	}
	slices.SortStableFunc(kept, func(a, b clipLine) int { return cmp.Or(a.begin.Compare(b.begin), cmp.Compare(a.Name, b.Name)) })
	return kept, nil
}

// overlap is how long before a range a clip may begin that reaches into it.
const overlap = time.Minute

// within tells whether a clip begins in the range, or reaches into it as far as
// is known.
func (l clipLine) within(from, to time.Time) bool {
	end := l.begin.Add(time.Millisecond + time.Duration(l.DurationMS)*time.Millisecond)
	return (from.IsZero() || end.After(from)) && (to.IsZero() || l.begin.Before(to))
}

// lines lists by names alone.
func (c *ctl) lines(ctx context.Context, g *fetch.Getter, q api.ObjectQuery) ([]clipLine, error) {
	lines := []clipLine{}
	if onCard, ok := g.Source.(*card.Card); ok {
		list, err := onCard.Clips(ctx, q.From, q.To)
		for _, k := range list {
			lines = append(lines, clipLine{Name: k.Name, Size: k.Size, Complete: true, Uploaded: &k.Uploaded})
		}
		return lines, err
	}
	list, err := g.List(ctx, q)
	for _, k := range list {
		lines = append(lines, clipLine{Name: k.Name, Size: k.Size, Modified: k.Modified, Complete: k.Complete})
	}
	return lines, err
}

// addRedated adds clips whose names say a wrong time, and that are known to
// belong into the range, if they are still there.
func (c *ctl) addRedated(ctx context.Context, g *fetch.Getter, known *fetch.Known, lines []clipLine, from, to time.Time) ([]clipLine, error) {
	there := map[string]bool{}
	for _, l := range lines {
		there[l.Name] = true
	}
	for name, d := range redated(known) {
		l := clipLine{begin: d.Started}
		named, err := cloud.ParseClipName(name)
		if err != nil || there[name] || !l.within(from, to) {
			continue
		}
		more, err := c.lines(ctx, g, api.ObjectQuery{From: named, To: named.Add(time.Millisecond)})
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			if m.Name == name {
				lines = append(lines, m)
			}
		}
	}
	return lines, nil
}

// redated are the clips of which another time is known than their names say.
func redated(known *fetch.Known) map[string]clock.Dated {
	all := known.All()
	what := make([]cloud.ClipDetails, len(all))
	for i, s := range all {
		what[i] = s.What
	}
	out := map[string]clock.Dated{}
	for i, d := range clock.Redate(what) {
		if d.Redated {
			out[all[i].Name] = d
		}
	}
	return out
}

// describe opens the manifests of the clips that have one, and tells how many could
// not be had.
func (c *ctl) describe(ctx context.Context, g *fetch.Getter, known *fetch.Known, lines []clipLine) (unknown int, err error) {
	var names []string
	for _, l := range lines {
		if l.Complete {
			names = append(names, l.Name)
		}
	}
	tell, done := c.counting("manifests")
	defer done()
	_, err = g.Describe(ctx, names, known, func(err error) { unknown++; c.warn(err.Error()) }, tell)
	return unknown, err
}

// date says of each clip what is known.
func date(lines []clipLine, known *fetch.Known) {
	times := redated(known)
	for i := range lines {
		l := &lines[i]
		l.begin, _ = cloud.ParseClipName(l.Name)
		if s, ok := known.Get(l.Name); ok {
			l.tell(s)
		}
		if d, ok := times[l.Name]; ok {
			l.begin, l.Redated = d.Started, true
		}
		l.Time = l.begin.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
}

func (l *clipLine) tell(s fetch.Said) {
	l.said = &s
	l.Stream, l.Sequence, l.Kind, l.Event = s.Stream, s.Sequence, s.What.Trigger, s.What.Event
	l.DurationMS, l.Frames, l.Cut, l.Unsynced = s.What.DurationMS, s.What.Frames, s.What.Cut, !s.What.Clock.Synced
}

func (c *ctl) uploadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upload CLIP...", Short: "Have the camera upload clips that are on its card only before the others",
		Args: takes(1, -1, "the names of clips"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.upload(cmd.Context(), args) },
	}
}

func (c *ctl) upload(ctx context.Context, args []string) error {
	names, err := clipNames("upload", args)
	if err != nil {
		return err
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	states := map[string]string{}
	err = c.session(ctx, o, func(s *remote.Session) error {
		for some := range slices.Chunk(names, command.MaxClipsNames) {
			got, err := command.ClipsUpload.Call(ctx, s, command.ClipsNames{Names: some})
			if err != nil {
				return err
			}
			for _, name := range some {
				states[name] = got.States[name]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.show(states, func(w io.Writer) {
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\n", name, stateText(states[name]))
		}
	})
	missing := 0
	for _, s := range states {
		if s == command.UploadMissing {
			missing++
		}
	}
	if err == nil && missing > 0 {
		err = fmt.Errorf("%d of %d clips are not on the card", missing, len(states))
	}
	return err
}

func stateText(state string) string {
	switch state {
	case command.UploadWaits:
		return "goes before the others now"
	case command.UploadDone:
		return "is in the store already"
	case command.UploadMissing:
		return "is not on the card"
	}
	return state
}

// clipNames checks names of clips, which may have the endings of their files.
func clipNames(doing string, args []string) ([]string, error) {
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = strings.TrimSuffix(strings.TrimSuffix(a, ".age"), ".mp4")
		if !verify.Name(names[i]) {
			return nil, usage("%s: %.60q is not the name of a clip: see camctl clips", doing, a)
		}
		if slices.Contains(names[:i], names[i]) {
			return nil, usage("%s: %s is named twice", doing, names[i])
		}
	}
	return names, nil
}
