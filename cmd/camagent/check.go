package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/haltest"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "check", RunE: check,
		Short: "Try everything that this camera needs, and tell what works and what does not",
		Long: "Try everything that this camera needs, and tell what works and what does not: configuration, identity,\n" +
			"clock, card, cloud, and whether the board keeps every promise of the hardware contract. It takes up to a\n" +
			"minute, leaves nothing changed, and needs the camera for itself: camagent must not run meanwhile.",
	}
	configFlags(cmd)
	cmd.Flags().Bool("json", false, "write the report as JSON")
	cmd.Flags().Bool("quiet", false, "leave out what can be heard: siren and speaker")
	return cmd
}

// finding is what came of looking at one thing.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Lines tell what was found; what is wrong, if it is not OK.
	Lines []string `json:"lines"`
}

// checkReport is all that was found.
type checkReport struct {
	Version  string          `json:"version"`
	OK       bool            `json:"ok"`
	Findings []finding       `json:"findings"`
	Board    *haltest.Report `json:"board,omitempty"` // missing if the board can't be opened
}

// checkRun makes a report, and on a terminal tells each finding as it comes.
type checkRun struct {
	report checkReport
	out    io.Writer // nil: the report is told whole, as JSON
}

// found notes what came of one thing: what there is to tell, or what is wrong.
func (c *checkRun) found(name string, tell string, err error) bool {
	f := finding{Name: name, OK: err == nil, Lines: []string{tell}}
	if err != nil {
		f.Lines = problems(err)
		c.report.OK = false
	}
	c.report.Findings = append(c.report.Findings, f)
	if c.out != nil {
		word := haltest.Passed
		if err != nil {
			word = haltest.Failed
		}
		for i, l := range f.Lines {
			if i > 0 {
				name, word = "", ""
			}
			fmt.Fprintf(c.out, "%-14s  %-22s%s\n", word, name, l)
		}
	}
	return err == nil
}

// problems are the lines of err; of a configuration, one a problem.
func problems(err error) []string {
	var list []string
	if c := (*config.Error)(nil); errors.As(err, &c) {
		for _, p := range c.Problems {
			list = append(list, p.Error())
		}
		return list
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			list = append(list, problems(e)...)
		}
		return list
	}
	return []string{cloud.OneLine(err.Error())}
}

func check(cmd *cobra.Command, _ []string) error {
	asJSON, err := cmd.Flags().GetBool("json")
	if err != nil {
		return err
	}
	quiet, err := cmd.Flags().GetBool("quiet")
	if err != nil {
		return err
	}
	c := &checkRun{report: checkReport{Version: cloud.Version, OK: true}, out: cmd.OutOrStdout()}
	if asJSON {
		c.out = nil
	}
	cfg, err := loadConfig(cmd)
	if c.found("configuration", "board "+cfg.Board, err) {
		if err := c.all(cmd.Context(), cfg, quiet); err != nil {
			return err
		}
	}
	return c.end(cmd.OutOrStdout())
}

// end tells the whole; the error is for the exit code.
func (c *checkRun) end(out io.Writer) error {
	if c.out == nil {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(c.report); err != nil {
			return err
		}
	}
	ok, failed, other := c.report.count()
	if c.out != nil {
		fmt.Fprintf(c.out, "%d ok, %d failed, %d not applicable\n", ok, failed, other)
	}
	switch {
	case c.report.OK:
		return nil
	case failed == 0:
		return errors.New("check: no promise of the board could be tried")
	}
	return fmt.Errorf("check: %d failed", failed)
}

// count counts findings and the cases of the suite together.
func (r *checkReport) count() (ok, failed, notApplicable int) {
	for _, f := range r.Findings {
		if f.OK {
			ok++
		} else {
			failed++
		}
	}
	if b := r.Board; b != nil {
		ok += b.Count(haltest.Passed)
		failed += b.Count(haltest.Failed)
		notApplicable = b.Count(haltest.NotApplicable)
	}
	return ok, failed, notApplicable
}

// all looks at everything with a configuration that can be read. The error is
// only that it can't be looked at now.
func (c *checkRun) all(ctx context.Context, cfg config.Config, quiet bool) error {
	lock, tell, err := checkState(cfg.StateDir)
	if errors.Is(err, agent.ErrRunning) {
		return fmt.Errorf("check: %w: end it first, the check needs the camera for itself", err)
	}
	if lock != nil {
		defer lock.Close()
	}
	c.found("state folder", tell, err)
	camera, opening := openCamera(ctx, cfg)
	id, tell, err := checkIdentity(cfg, camera)
	c.found("identity", tell, err)
	tell, err = checkClock(id)
	c.found("clock", tell, err)
	tell, err = checkCard(cfg.Card)
	c.found("card", tell, err)
	if !cfg.Cloud.Off() {
		for _, s := range servers(cfg.Cloud) {
			tell, err := checkServer(ctx, cfg, s, id)
			c.found(s.what, tell, err)
		}
	}
	if c.found("board", "opened", opening) {
		c.found("can", canDo(camera), camera.Close())
		c.board(ctx, cfg, quiet)
	}
	if ctx.Err() != nil {
		return errors.New("check: interrupted")
	}
	return nil
}

// openCamera opens the hardware as it is now.
func openCamera(ctx context.Context, cfg config.Config) (*hal.Camera, error) {
	h, err := openNow(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return hal.NewCamera(h.board, h.parts...), nil
}

// board looks at all that the hardware promises.
func (c *checkRun) board(ctx context.Context, cfg config.Config, quiet bool) {
	// What a scenario makes of the hardware is no property of it.
	cfg.Sim.Scenario = ""
	c.suite(ctx, quiet, func() (*hardware, error) { return openNow(ctx, cfg) })
}

// suite runs the conformance suite, or some cases of it.
func (c *checkRun) suite(ctx context.Context, quiet bool, open func() (*hardware, error), only ...string) {
	s := haltest.Subject{Name: "board", Quiet: quiet, Only: only, Open: func(context.Context) (hal.Board, []any, error) {
		h, err := open()
		if err != nil {
			return nil, nil, err
		}
		return h.board, h.parts, nil
	}}
	if c.out != nil {
		s.Done = func(r haltest.Result) { r.Write(c.out) }
	}
	r := haltest.Run(ctx, s)
	c.report.Board = &r
	c.report.OK = c.report.OK && r.OK
}

// openNow opens the hardware; a device that is missing is an error here.
func openNow(ctx context.Context, cfg config.Config) (*hardware, error) {
	cfg.Card.Dir = "" // the card is none of the check's to pull
	h, err := openHardware(ctx, cfg, zap.NewNop())
	if err != nil {
		return nil, err
	}
	if len(h.missing) == 0 {
		return h, nil
	}
	closeParts(h.parts)
	errs := []error{h.board.Close()}
	for _, m := range h.missing {
		errs = append(errs, m.err)
	}
	return nil, errors.Join(errs...)
}
