package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
)

// ctl is one run of the program: its streams, and the flags of all commands.
type ctl struct {
	in       io.Reader
	out, err io.Writer

	config  string
	camera  string
	json    bool
	timeout time.Duration
	lan     string
	find    func(ctx context.Context, bindID string) ([]string, error) // nil: on the real network
}

// usageError marks a wrong command line: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// main runs the command line and returns the exit code: 0 done, 1 refused or
// failed, 2 wrong usage.
func (c *ctl) main(ctx context.Context, args []string) int {
	cmd := c.root()
	cmd.SetArgs(args)
	cmd.SetIn(c.in)
	cmd.SetOut(c.out)
	cmd.SetErr(c.err)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	c.warn(err.Error())
	if _, wrong := errors.AsType[usageError](err); wrong {
		return 2
	}
	return 1
}

// warn puts one line on standard error.
func (c *ctl) warn(text string) {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), "; ")
	fmt.Fprintln(c.err, "camctl: "+printable(text))
}

func (c *ctl) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "camctl",
		Short:         "The owner's side of a camera: pair, look, fetch clips, change settings",
		SilenceErrors: true, SilenceUsage: true,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.config, "config", os.Getenv("CAMCTL_CONFIG"), "configuration folder (also CAMCTL_CONFIG)")
	f.StringVar(&c.camera, "camera", "", "serial or name of the camera (default: the only one)")
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.DurationVar(&c.timeout, "timeout", 15*time.Second, "how long to wait for cloud, broker and camera, each")
	f.StringVar(&c.lan, "lan", os.Getenv("CAMCTL_LAN"), "reach the camera on the local network alone, found by name, or at =HOST:PORT; "+
		"=off: never (also CAMCTL_LAN; default: if the broker does not help)")
	f.Lookup("lan").NoOptDefVal = remote.Find
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if c.timeout <= 0 {
			return usage("--timeout %v: want more than 0", c.timeout)
		}
		if err := remote.CheckLAN(c.lan); err != nil {
			return usage("--lan: %w", err)
		}
		if cmd.Name() == "pair" && f.Changed("lan") {
			return usage("pair: --lan: cameras are paired by the broker")
		}
		return nil
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(
		c.identityCommand(), c.signInCommand(), c.pairCommand(), c.camerasCommand(), c.statusCommand(),
		c.settingsCommand(), c.setCommand(), c.recordCommand(), c.snapshotCommand(), c.clipsCommand(), c.getCommand(), c.uploadCommand(),
		c.syncCommand(), c.verifyCommand(), c.liveCommand(), c.keyframeCommand(), c.factoryCommand(), c.versionCommand())
	group(cmd)
	return cmd
}

// group makes cmd, which does nothing itself, say what there is below it.
func group(cmd *cobra.Command) {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("unknown command %q: want one of %s", args[0], strings.Join(names, ", "))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// takes checks the number of arguments; what names them in the error.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		if most == 0 {
			return usage("%s takes no arguments, got %d", cmd.CommandPath(), len(args))
		}
		return usage("%s: %d arguments, want %s", cmd.CommandPath(), len(args), what)
	}
}

// home is the configuration folder.
func (c *ctl) home() (*home.Home, error) {
	if c.config != "" {
		return home.New(c.config), nil
	}
	dir, err := home.Default()
	if err != nil {
		return nil, err
	}
	return home.New(dir), nil
}
