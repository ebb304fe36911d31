package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (c *ctl) identityCommand() *cobra.Command {
	var age bool
	cmd := &cobra.Command{
		Use: "identity", Short: "Show who you are, as a line that others need to share a camera with you; made at first use",
		Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.identity(cmd, age) },
	}
	cmd.Flags().BoolVar(&age, "age", false, "print the path of your key file instead, for: age -d -i FILE clip.mp4.age")
	return cmd
}

func (c *ctl) identity(cmd *cobra.Command, age bool) error {
	h, err := c.home()
	if err != nil {
		return err
	}
	o, created, err := h.EnsureOwner(cmd.Context())
	if err != nil {
		return err
	}
	if created {
		c.warn("a new identity was made in " + h.Dir() + ": keep a copy, without it no clip can be opened")
	}
	v := map[string]string{"member": o.MemberLine(), "noise": o.NoiseText(), "recipient": o.Recipient, "age_file": h.AgeFile()}
	return c.show(v, func(w io.Writer) {
		if age {
			fmt.Fprintln(w, h.AgeFile())
			return
		}
		fmt.Fprintln(w, o.MemberLine())
	})
}
