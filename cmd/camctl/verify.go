package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cloud/seal"

	"iid2secure.nl/camagent/cmd/camctl/internal/card"
	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// cloudWorkers is how many objects are fetched at once.
const cloudWorkers = 8

func (c *ctl) verifyCommand() *cobra.Command {
	var from sourceFlags
	var partial bool
	cmd := &cobra.Command{
		Use: "verify [DIR]", Short: "Check that clips are complete and are what the camera made",
		Long: "Check that clips are complete and are what the camera made: all that is stored, or with DIR a folder with the files of " +
			"a card, or copies of them (.mp4.age, .jws), or with --on-card what is on the card in the camera. " +
			"It names what is missing, cut, altered, foreign or out of order, and what the camera " +
			"itself has given up, and why. Nothing is changed. Exit code 1 if anything is wrong, or if all that is stored is checked and the camera does not " +
			"tell where its clips end: then the newest may have been taken away unseen.",
		Args: takes(0, 1, "a folder, or none for all that is stored"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && !from.cloud():
				return usage("verify: a folder, --bucket or --on-card: there is one place to read from")
			case len(args) > 0:
				return c.verifyFolder(cmd.Context(), args[0])
			case from.onCard && from.bucket == "":
				return c.verifyCard(cmd.Context())
			}
			return c.verifyStore(cmd.Context(), &from, partial)
		},
	}
	from.define(cmd)
	cmd.Flags().BoolVar(&partial, "partial", false, "be content with what is stored if the camera does not tell where its clips end")
	return cmd
}

func (c *ctl) verifyFolder(ctx context.Context, dir string) error {
	var o owned
	h, err := c.home()
	if err != nil {
		return err
	}
	if o.camera, err = c.pick(h); err != nil {
		return err
	}
	if o.owner, err = h.Owner(); err != nil {
		return err
	}
	folder, err := verify.NewFolder(dir)
	if err != nil {
		return err
	}
	return c.runCheck(ctx, verify.Check{Camera: c.opener(o).Camera, Secret: o.owner.Age, Store: folder, Parts: true})
}

// verifyStore checks all that is stored. What the camera has not uploaded yet, and
// where its chains end, it is asked first; what it told before holds in any case.
func (c *ctl) verifyStore(ctx context.Context, from *sourceFlags, partial bool) error {
	return c.from(ctx, from, func(o owned, g *fetch.Getter) error {
		check := verify.Check{Camera: g.Camera, Secret: g.Secret, Store: remoteStore{g}, All: true, Partial: partial, Workers: cloudWorkers}
		before, err := o.home.Heads(o.camera) // before the camera tells new ones
		if err := c.askCamera(ctx, o, &check); err != nil {
			c.warn(fmt.Sprintf("the camera does not tell where its chains end: %v", err))
			c.askBroker(ctx, o)
			before, _ = o.home.Heads(o.camera)
		}
		if err != nil {
			c.warn(err.Error())
		}
		check.Seen = headsOf(before)
		return c.runCheck(ctx, check)
	})
}

// cardWorkers is how many objects are asked of the camera at once.
const cardWorkers = 2

// verifyCard checks what lies on the card in the camera, as if it were a folder, to
// the ends of the chains.
func (c *ctl) verifyCard(ctx context.Context) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	return c.session(ctx, o, func(s *remote.Session) error { return c.checkCard(ctx, o, s) })
}

func (c *ctl) checkCard(ctx context.Context, o owned, s command.Caller) error {
	before, err := o.home.Heads(o.camera)
	if err != nil {
		c.warn(err.Error())
	}
	st, err := command.StatusGet.Call(ctx, s, command.None{})
	if err != nil {
		return err
	}
	c.sawHeads(o, st)
	onCard := card.New(s)
	g := c.reader(o, onCard)
	return c.runCheck(ctx, verify.Check{Camera: g.Camera, Secret: g.Secret, Store: cardStore{onCard, g},
		Heads: headsOf(st.Chains), Seen: headsOf(before), Workers: cardWorkers})
}

// cardStore is what lies on the card in the camera, as a verify.Store.
type cardStore struct {
	card *card.Card
	g    *fetch.Getter
}

func (s cardStore) Each(ctx context.Context, fn func(verify.Object)) error {
	return s.card.Each(ctx, time.Time{}, time.Time{}, func(k command.CardClip) {
		if !verify.Name(k.Name) {
			fn(verify.Object{Path: k.Name, Name: k.Name, Size: k.Size})
			return
		}
		fn(verify.Object{Path: k.Name + cloud.ExtManifest, Name: k.Name + cloud.ExtManifest})
		fn(verify.Object{Path: k.Name + cloud.ExtClip, Name: k.Name + cloud.ExtClip, Size: k.Size})
	})
}

func (s cardStore) Open(ctx context.Context, o verify.Object) (io.ReadCloser, error) {
	return s.g.Object(ctx, o.Name)
}

// askBroker remembers what the broker keeps of the camera's own word, if anything.
func (c *ctl) askBroker(ctx context.Context, o owned) {
	if o.noCloud != nil || o.account.Broker == "" {
		return
	}
	b, err := remote.Connect(ctx, o.home, o.account, c.timeout)
	if err != nil {
		return // told already
	}
	defer b.Close()
	if p, err := b.Presence(ctx, o.camera); err == nil {
		st := command.Status{Chains: map[string]command.ChainHead{}}
		for stream, h := range p.Heads {
			st.Chains[stream] = command.ChainHead(h)
		}
		c.sawHeads(o, st)
	}
}

// askCamera asks for the heads of the chains, and for what is on the card only.
func (c *ctl) askCamera(ctx context.Context, o owned, check *verify.Check) error {
	return c.session(ctx, o, func(s *remote.Session) error { return c.learn(ctx, o, s, check) })
}

func (c *ctl) learn(ctx context.Context, o owned, s command.Caller, check *verify.Check) error {
	st, err := command.StatusGet.Call(ctx, s, command.None{})
	if err != nil {
		return err
	}
	c.sawHeads(o, st)
	waiting, gaps, err := c.waiting(ctx, o, s)
	if err != nil {
		return err
	}
	check.Heads, check.Waiting, check.WaitingGaps = headsOf(st.Chains), waiting, gaps
	return nil
}

func headsOf(chains map[string]command.ChainHead) map[string]verify.Head {
	heads := map[string]verify.Head{}
	for stream, h := range chains {
		heads[stream] = verify.Head{Sequence: h.Sequence, Hash: h.Hash}
	}
	return heads
}

// sawHeads remembers what the camera told of its chains, for when it does not answer.
func (c *ctl) sawHeads(o owned, st command.Status) {
	if o.home == nil {
		return
	}
	if err := o.home.SawHeads(o.camera, st.Chains); err != nil {
		c.warn(fmt.Sprintf("where the camera's chains end is not remembered: %v", err))
	}
}

// waiting reads the manifests of the clips, and the gaps, that are not uploaded yet.
func (c *ctl) waiting(ctx context.Context, o owned, s command.Caller) (manifests, gaps map[string]string, err error) {
	manifests, gaps = map[string]string{}, map[string]string{}
	onCard := card.New(s)
	g := c.reader(o, onCard)
	err = onCard.Each(ctx, time.Time{}, time.Time{}, func(k command.CardClip) {
		name, isGap := strings.CutSuffix(k.Name, cloud.ExtGap)
		to, ext := manifests, cloud.ExtManifest
		if isGap {
			to, ext = gaps, cloud.ExtGap
		}
		if k.Uploaded || !verify.Name(name) {
			return
		}
		if token, err := readToken(ctx, g, name+ext); err == nil { // else it has been given up meanwhile
			to[name] = token
		}
	})
	return manifests, gaps, err
}

func readToken(ctx context.Context, g *fetch.Getter, name string) (string, error) {
	f, err := g.Object(ctx, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, seal.MaxStatement+1))
	return string(b), err
}

// remoteStore is what is stored for the camera, as a verify.Store.
type remoteStore struct{ *fetch.Getter }

func (s remoteStore) Each(ctx context.Context, fn func(verify.Object)) error {
	return s.Getter.Each(ctx, api.ObjectQuery{}, func(o api.Object) { fn(verify.Object{Path: o.Name, Name: o.Name, Size: o.Size}) })
}

func (s remoteStore) Open(ctx context.Context, o verify.Object) (io.ReadCloser, error) {
	return s.Object(ctx, o.Name)
}

func (c *ctl) runCheck(ctx context.Context, check verify.Check) error {
	if check.Progress = c.progress("verify"); check.Progress != nil {
		defer check.Progress(0, 0)
	}
	r, err := check.Run(ctx)
	if err != nil {
		return err
	}
	if check.Progress != nil {
		check.Progress(0, 0)
	}
	if err := c.show(r, func(w io.Writer) { writeReport(w, r) }); err != nil {
		return err
	}
	switch {
	case r.Good:
		return nil
	case len(r.Faults) == 0:
		return errors.New("the end is not known: the camera does not tell where its clips end (--partial: be content with what is stored)")
	default:
		return fmt.Errorf("%s wrong", counted(len(r.Faults), "thing is", "things are"))
	}
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// writeReport tells what was found, the worst first.
func writeReport(w io.Writer, r verify.Report) {
	for _, f := range r.Faults {
		fmt.Fprintf(w, "%s\t%s\n", f.Kind, f.Text)
	}
	for _, g := range r.GivenUp {
		fmt.Fprintf(w, "given up\t%s\n", g.Text)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note\t%s\n", n)
	}
	for _, l := range r.Lines {
		fmt.Fprintf(w, "%s\tnumbers %d to %d\n", l.Stream, l.First, l.Last)
	}
	fmt.Fprintf(w, "genuine\t%s (%s)", counted(r.Clips, "clip", "clips"), bytesText(r.Bytes))
	if r.Cut > 0 {
		fmt.Fprintf(w, ", %d of them ended by a power cut", r.Cut)
	}
	if r.Waiting > 0 {
		fmt.Fprintf(w, "; %d more wait on the camera's card", r.Waiting)
	}
	fmt.Fprintln(w)
	if !r.Complete {
		fmt.Fprintln(w, "the end is not known")
	}
	switch {
	case r.Good && r.Clips+r.Gaps+r.Waiting == 0:
		fmt.Fprintln(w, "nothing is there to check")
	case r.Good && r.Complete:
		fmt.Fprintln(w, "all is good")
	case r.Good:
		fmt.Fprintln(w, "all that is here is good")
	}
}
