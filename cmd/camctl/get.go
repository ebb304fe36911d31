package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/files"
	"iid2secure.nl/camagent/cmd/camctl/internal/mirror"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// maxJobs bounds how many clips are fetched at a time.
const maxJobs = 16

// getFlags of camctl get.
type getFlags struct {
	choice
	out    string
	sealed bool
	join   bool
	jobs   int
}

func (c *ctl) getCommand() *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use: "get [CLIP...] -o FILE.mp4|DIR/", Short: "Fetch, verify and decrypt clips, or make one film of them",
		Long: "Fetch, verify and decrypt clips: those that are named, or all of a range. One goes to a file, or with -o - to a player; " +
			"several go to a folder as CLIP.mp4, or with --join into one film. A download that is broken off goes on the next time.",
		Args: takes(0, -1, ""),
		RunE: func(cmd *cobra.Command, args []string) error { return c.get(cmd.Context(), args, &f) },
	}
	f.define(cmd)
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "file for the clip or the film, folder for several; - is standard output")
	cmd.Flags().BoolVar(&f.sealed, "sealed", false, "keep the sealed file beside it, as FILE.mp4.age")
	cmd.Flags().BoolVar(&f.join, "join", false, "join the clips into one film; after a gap, or when the picture's size changes, FILE-2.mp4 begins")
	cmd.Flags().IntVar(&f.jobs, "jobs", 4, fmt.Sprintf("how many clips to download at a time, 1 to %d", maxJobs))
	return cmd
}

func (c *ctl) get(ctx context.Context, args []string, f *getFlags) error {
	names, err := clipNames("get", args)
	if err == nil {
		err = f.check(names, c.json)
	}
	if err != nil {
		return err
	}
	if f.join {
		return f.sure(c.from(ctx, &f.source, func(o owned, g *fetch.Getter) error { return c.film(ctx, o, g, names, f) }))
	}
	left := []string(nil)
	err = c.from(ctx, &f.source, func(o owned, g *fetch.Getter) (err error) {
		if len(names) == 0 {
			if names, err = c.chosen(ctx, o, g, f); err != nil {
				return err
			}
		}
		left, err = c.getAll(ctx, o, g, names, f)
		return err
	})
	if len(left) > 0 && f.source.cloud() && onCardPerhaps(err) && ctx.Err() == nil {
		err = c.getFromCard(ctx, left, f, err)
	}
	return f.sure(err)
}

// getFromCard gets what the cloud could not give, and why is told.
func (c *ctl) getFromCard(ctx context.Context, names []string, f *getFlags, why error) error {
	card := *f
	card.source = sourceFlags{onCard: true}
	err := c.from(ctx, &card.source, func(o owned, g *fetch.Getter) error {
		_, err := c.getAll(ctx, o, g, names, &card)
		return err
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (nor from the card in the camera: %w)", why, err)
	}
	return err
}

// check refuses what does not go together.
func (f *getFlags) check(names []string, json bool) error {
	many := len(names) != 1 && !f.join
	switch {
	case f.jobs < 1 || f.jobs > maxJobs:
		return usage("get: --jobs %d: want 1 to %d", f.jobs, maxJobs)
	case len(names) == 0 && !f.between.set() && f.event == "":
		return usage("get: want the names of clips, or a range by --from and --to, or --event")
	case len(names) > 0 && (f.between.set() || f.picky()):
		return usage("get: names of clips, or a range: not both")
	case f.out == "":
		return usage("want -o FILE, or -o - for standard output")
	case f.out == "-" && json:
		return usage("-o - and --json both want standard output")
	case f.out == "-" && f.sealed:
		return usage("get: --sealed needs -o FILE")
	case f.join && f.sealed:
		return usage("get: --sealed keeps clips, and --join makes a film of them: one of both")
	case many && f.out == "-":
		return usage("get: several clips on standard output are one film: want --join")
	case many && !isFolder(f.out):
		return usage("get: several clips go to a folder: want -o DIR/, or --join for one film")
	}
	return f.choice.check()
}

// isFolder tells whether the output is one, or is to become one.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return strings.HasSuffix(path, "/") || err == nil && info.IsDir()
}

// chosen lists the clips of a range.
func (c *ctl) chosen(ctx context.Context, o owned, g *fetch.Getter, f *getFlags) ([]string, error) {
	lines, err := c.choose(ctx, o, g, &f.choice)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range lines {
		if l.Complete {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("there are no such clips: see camctl clips")
	}
	return names, nil
}

// onCardPerhaps tells whether the camera may have what the cloud did not give:
// the cloud is away, or does not have it (yet).
func onCardPerhaps(err error) bool {
	if err == nil {
		return false
	}
	if _, refused := errors.AsType[*verify.Error](err); refused {
		return false
	}
	if _, disk := errors.AsType[*fs.PathError](err); disk {
		return false
	}
	if refusal, ok := errors.AsType[*api.Error](err); ok {
		return refusal.Code == api.CodeNotFound || refusal.Status >= 500
	}
	return true
}

// getAll gets clips, several at a time. One that fails does not keep the others;
// what did not come is left, and the first failure is told.
func (c *ctl) getAll(ctx context.Context, o owned, g *fetch.Getter, names []string, f *getFlags) (left []string, err error) {
	alone := len(names) == 1 && !isFolder(f.out)
	if !alone {
		if err := os.MkdirAll(f.out, 0o700); err != nil {
			return names, err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	failed := map[string]error{}
	tell, done := c.meter(names)
	defer done()
	var group errgroup.Group
	group.SetLimit(f.jobs)
	for _, name := range names {
		group.Go(func() error {
			one := *g
			one.Progress = tell(name)
			out := f.out
			if !alone {
				out = filepath.Join(f.out, name+".mp4")
			}
			rec, err := c.getOne(ctx, o, &one, name, out, f.sealed)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failed[name] = err
				if _, disk := errors.AsType[*fs.PathError](err); disk {
					stop() // the others would meet the same
				}
			case out == "-":
			case alone:
				done()
				return c.show(rec, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", out, clipText(rec)) })
			default:
				done()
				return c.showLine(rec, out+": "+clipText(rec))
			}
			return nil
		})
	}
	err = group.Wait()
	done()
	for _, name := range names {
		switch why := failed[name]; {
		case why == nil:
			continue
		case errors.Is(why, context.Canceled): // because of another
		case err == nil:
			err = why
		default:
			c.warn(f.source.explain(why).Error())
		}
		left = append(left, name)
	}
	if err == nil && len(left) > 0 {
		err = context.Canceled
	}
	return left, err
}

func (c *ctl) getOne(ctx context.Context, o owned, g *fetch.Getter, name, out string, sealed bool) (mirror.Record, error) {
	clip, err := g.Manifest(ctx, name)
	if err != nil {
		return mirror.Record{}, err
	}
	if out == "-" {
		return mirror.Record{}, c.getToOutput(ctx, o, g, clip)
	}
	return getToFile(ctx, g, clip, out, sealed)
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
	details, err := g.Clip(ctx, clip, dst, filepath.Join(filepath.Dir(out), clip.Name+cloud.ExtClip), keep)
	if err != nil {
		return mirror.Record{}, err
	}
	return mirror.NewRecord(clip, details), dst.Commit()
}

// getToOutput keeps the ciphertext in the configuration folder until it is
// verified: nothing goes out before.
func (c *ctl) getToOutput(ctx context.Context, o owned, g *fetch.Getter, clip verify.Clip) error {
	dir, err := o.parts()
	if err != nil {
		return err
	}
	_, err = g.Clip(ctx, clip, c.out, filepath.Join(dir, clip.Name+cloud.ExtClip), "")
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

// meter shows how far the downloads of clips are, all together, on a terminal.
// tell gives what is told of one clip, nil if nobody looks; done clears the line.
func (c *ctl) meter(names []string) (tell func(name string) func(done, total int64), done func()) {
	label := names[0]
	if len(names) > 1 {
		label = fmt.Sprintf("%d clips", len(names))
	}
	show := c.progress(label)
	if show == nil {
		return func(string) func(done, total int64) { return nil }, func() {}
	}
	var mu sync.Mutex
	sizes, have := map[string]int64{}, map[string]int64{}
	tell = func(name string) func(done, total int64) {
		return func(done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			sizes[name], have[name] = total, done
			var all, sum int64
			for n := range sizes {
				all, sum = all+sizes[n], sum+have[n]
			}
			// Those that have not begun are taken for as large as the others.
			show(max(sum, 1), all*int64(len(names))/int64(len(sizes)))
		}
	}
	return tell, func() {
		mu.Lock()
		defer mu.Unlock()
		show(0, 0)
	}
}

// counting shows on a terminal how many of something are done.
func (c *ctl) counting(what string) (tell func(done, total int64), done func()) {
	if !isTerminal(c.err) || c.json {
		return nil, func() {}
	}
	var last time.Time
	return func(done, total int64) {
		if time.Since(last) > 100*time.Millisecond {
			last = time.Now()
			fmt.Fprintf(c.err, "\r%s  %d of %d ", what, done, total)
		}
	}, func() { fmt.Fprint(c.err, "\r\x1b[K") }
}
