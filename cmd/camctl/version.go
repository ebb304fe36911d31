package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cloud"
)

func (c *ctl) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: takes(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			v := cloud.Version
			return c.show(map[string]string{"version": v, "go": runtime.Version()}, func(w io.Writer) {
				fmt.Fprintf(w, "camctl %s (%s, %s/%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			})
		},
	}
}
