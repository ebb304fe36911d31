package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cmd/camcloud/internal/conf"
	"iid2secure.nl/camagent/cmd/camcloud/internal/run"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
	"iid2secure.nl/camagent/config"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // one clear line is on the error stream
	exitUsage  = 2 // wrong flags, arguments or configuration
)

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, out, errs io.Writer) int {
	started := false
	root := &cobra.Command{
		Use:               "camcloud",
		Short:             "The small cloud of camagent: broker, upload grants, bindings and the API of apps",
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRun:  func(*cobra.Command, []string) { started = true },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(runCommand(), accountCommand(), versionCommand())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) { // interrupted while it started
		return exitDone
	}
	fmt.Fprintln(errs, "camcloud: "+err.Error())
	if _, ok := errors.AsType[*config.Error](err); ok || !started {
		return exitUsage
	}
	return exitFailed
}

func runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the cloud until it is interrupted",
		Long:  "Run the cloud until it is interrupted. Once everything is ready, <dir>/info.json says where it is.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := conf.Load(file, cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			log, err := logger(cfg.Log)
			if err != nil {
				return err
			}
			defer log.Sync()
			return run.Run(cmd.Context(), cfg, log, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	conf.Flags(cmd.Flags())
	return cmd
}

// logger writes to the error stream.
func logger(l conf.Log) (*zap.Logger, error) {
	z := zap.NewProductionConfig()
	if l.Format == "console" {
		z = zap.NewDevelopmentConfig()
		z.DisableStacktrace, z.DisableCaller = true, true
	}
	level, err := zap.ParseAtomicLevel(l.Level)
	z.Level = level
	if err != nil {
		return nil, err
	}
	return z.Build()
}

func accountCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "account", Short: "Add, list and remove accounts; also while the cloud runs"}
	cmd.PersistentFlags().StringVar(&dir, "dir", conf.Default().Dir, "state folder of the cloud")
	cmd.AddCommand(
		&cobra.Command{
			Use: "add NAME", Short: "Make an account and print its token, this once", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				accounts, err := store.OpenAccounts(dir)
				if err != nil {
					return err
				}
				token, err := accounts.Add(args[0])
				if err != nil {
					return err
				}
				// Printing it is what the command is for.
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token.Reveal())
				return err
			},
		},
		&cobra.Command{
			Use: "list", Short: "List the accounts", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				accounts, err := store.OpenAccounts(dir)
				if err != nil {
					return err
				}
				names, err := accounts.List()
				for _, n := range names {
					fmt.Fprintln(cmd.OutOrStdout(), n)
				}
				return err
			},
		},
		&cobra.Command{
			Use: "remove NAME", Short: "End an account: its token and its apps are refused from then on", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				accounts, err := store.OpenAccounts(dir)
				if err != nil {
					return err
				}
				return accounts.Remove(args[0])
			},
		},
	)
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "camcloud", cloud.Version)
			return err
		},
	}
}
