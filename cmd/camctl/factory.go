package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cloud/identity"

	"iid2secure.nl/camagent/cmd/camctl/internal/files"
	"iid2secure.nl/camagent/cmd/camctl/internal/label"
)

// identityFolder is where a camera looks below its state folder.
const identityFolder = "identity"

func (c *ctl) factoryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "factory", Short: "Make identities for cameras: for their maker"}
	cmd.AddCommand(c.factoryInitCommand(), c.provisionCommand())
	group(cmd)
	return cmd
}

func (c *ctl) factoryInitCommand() *cobra.Command {
	var vendor string
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Make the certificate authority that vouches for a maker's cameras", Args: takes(1, 1, "a folder"),
		RunE: func(_ *cobra.Command, args []string) error { return c.factoryInit(args[0], vendor) },
	}
	cmd.Flags().StringVar(&vendor, "vendor", "camagent", "name of the maker")
	return cmd
}

func (c *ctl) factoryInit(dir, vendor string) error {
	if _, err := identity.LoadFactory(dir); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s holds a factory already", dir)
		}
		return err
	}
	f, err := identity.NewFactory(vendor)
	if err != nil {
		return usageError{err}
	}
	if err := f.Save(dir); err != nil {
		return err
	}
	v := map[string]string{"dir": dir, "vendor": vendor, "certificate": f.CertPEM()}
	return c.show(v, func(w io.Writer) {
		fmt.Fprintf(w, "a factory was made in %s: keep its key off every camera and server\n", dir)
	})
}

type provisionFlags struct{ ca, out, label string }

func (c *ctl) provisionCommand() *cobra.Command {
	var f provisionFlags
	cmd := &cobra.Command{
		Use: "provision --ca DIR --out STATE_DIR", Short: "Make the identity of one camera, and its label", Args: takes(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return c.provision(f) },
	}
	cmd.Flags().StringVar(&f.ca, "ca", "", "folder of camctl factory init")
	cmd.Flags().StringVar(&f.out, "out", "", "the camera's state folder")
	cmd.Flags().StringVar(&f.label, "label", "", "file for the label with QR code, serial and verification code: .png or .svg")
	return cmd
}

func (c *ctl) provision(f provisionFlags) error {
	if f.ca == "" || f.out == "" {
		return usage("factory provision: want --ca DIR and --out STATE_DIR")
	}
	draw, err := labelFormat(f.label)
	if err != nil {
		return err
	}
	factory, err := identity.LoadFactory(f.ca)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--ca %s: no factory there: make one with camctl factory init %s", f.ca, f.ca)
	}
	if err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	id, err := factory.Provision()
	if err != nil {
		return err
	}
	if err := id.Save(filepath.Join(f.out, identityFolder)); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if draw != nil {
		if err := writeLabel(f.label, id, draw); err != nil {
			return err
		}
	}
	v := map[string]string{"serial": id.Serial.Plain(), "state_dir": f.out, "label": f.label}
	return c.show(v, func(w io.Writer) { fmt.Fprintln(w, id.Serial.Plain()) })
}

type drawLabel func(*identity.Identity) ([]byte, error)

func labelFormat(path string) (drawLabel, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png":
		return label.PNG, nil
	case ".svg":
		return label.SVG, nil
	}
	if path == "" {
		return nil, nil
	}
	return nil, usage("--label %s: want a name that ends in .png or .svg", path)
}

func writeLabel(path string, id *identity.Identity, draw drawLabel) error {
	b, err := draw(id)
	if err == nil {
		err = files.Write(path, b)
	}
	if err != nil {
		return fmt.Errorf("--label: %w (the identity is made: camagent qr shows what stands on its label)", err)
	}
	return nil
}
