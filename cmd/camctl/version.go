package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (c *ctl) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: takes(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return c.show(map[string]string{"version": v, "go": runtime.Version()}, func(w io.Writer) {
				fmt.Fprintf(w, "camctl %s (%s, %s/%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			})
		},
	}
}

// version is what the Go command stamped into the program.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
