// Camagent is the daemon of an IP camera. This package holds flags, signals and
// exit codes, and is the one place that names concrete boards; all else is in
// package agent.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
)

// usageError marks a wrong command line: exit code 2.
type usageError struct{ error }

func main() {
	runtime.MemProfileRate = 0 // nobody reads that profile here, and it grows for hours
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	cmd := root()
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "camagent: "+err.Error())
	if _, usage := err.(usageError); usage {
		os.Exit(2)
	}
	os.Exit(1)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "camagent",
		Short:         "The daemon of an IP camera: live view, encrypted clips, control by its owner alone",
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, c := range []*cobra.Command{runCommand(), checkCommand(), qrCommand(), versionCommand()} {
		c.Args = noArgs
		cmd.AddCommand(c)
	}
	cmd.AddCommand(simCommand())
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q: want run, check, qr, sim or version", args[0])}
		}
		return nil
	}
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, but got %q", cmd.Name(), args[0])}
	}
	return nil
}

// defaultConfig is read if it exists and --config is not given.
const defaultConfig = "/etc/camagent/camagent.yaml"

// configFlags gives cmd --config and a flag for every key of the configuration.
func configFlags(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "configuration file (default "+defaultConfig+", if it exists)")
	cfg := config.Default()
	config.AddFlags(cmd.Flags(), &cfg)
}

func loadConfig(cmd *cobra.Command) (config.Config, error) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return config.Config{}, err
	}
	if file == "" {
		if _, err := os.Stat(defaultConfig); err == nil {
			file = defaultConfig
		}
	}
	return config.Load(file, cmd.Flags(), os.Environ())
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run", Short: "Run the camera until SIGINT or SIGTERM; SIGUSR1 is its pairing button", RunE: run}
	configFlags(cmd)
	return cmd
}

func run(cmd *cobra.Command, _ []string) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	log, err := newLog(cfg.Log)
	if err != nil {
		return err
	}
	defer log.Sync()
	defer stayLean(cmd.Context(), log)()
	button := make(chan os.Signal, 1)
	signal.Notify(button, syscall.SIGUSR1)
	defer signal.Stop(button)
	err = errCame
	for first := true; errors.Is(err, errCame); first = false {
		err = runOnce(cmd.Context(), cfg, log, button, first)
	}
	return err
}

// runOnce runs the camera on the hardware that is there; errCame if it is to be
// run again because a missing device has come.
func runOnce(ctx context.Context, cfg config.Config, log *zap.Logger, button <-chan os.Signal, first bool) error {
	h, err := openHardware(ctx, cfg, log)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // the end was asked for
	}
	if err != nil {
		return err
	}
	camera := hal.NewCamera(h.board, h.parts...)
	a, err := agent.New(cfg, camera, log)
	if err != nil {
		return errors.Join(err, camera.Close())
	}
	for _, m := range h.missing {
		log.Warn("a device is missing", zap.Error(m.err))
		if m.code != "" {
			a.Report(m.code, m.err)
		}
	}
	stop, err := serveControl(ctx, cfg.SimControl(), h.board)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	if first && !a.Bound() && term.IsTerminal(int(os.Stdout.Fd())) {
		if err := showQR(os.Stdout, a.Identity()); err != nil {
			return errors.Join(err, stop(), a.Close())
		}
	}
	return errors.Join(runUntil(ctx, a, button, h.missing), stop())
}

// runUntil runs a until ctx ends, or one of the missing devices has come: errCame.
func runUntil(ctx context.Context, a *agent.Agent, button <-chan os.Signal, missing []absent) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := await(ctx, missing); errors.Is(err, errCame) {
			cancel(err)
		}
	})
	err := a.Run(ctx, button)
	cancel(nil)
	waiting.Wait()
	if err == nil && errors.Is(context.Cause(ctx), errCame) {
		return errCame
	}
	return err
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "camagent "+cloud.Version)
		return err
	}}
}
