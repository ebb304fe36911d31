package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/skip2/go-qrcode"
	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
)

func qrCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "qr", Short: "Show the serial and verification code by which the owner binds the camera", RunE: qr}
	configFlags(cmd)
	cmd.Flags().String("format", "terminal", "terminal, text or png (to standard output)")
	return cmd
}

func qr(cmd *cobra.Command, _ []string) error {
	format, err := cmd.Flags().GetString("format")
	if err != nil {
		return err
	}
	show, ok := map[string]func(io.Writer, *identity.Identity) error{
		"terminal": showQR, "text": textQR, "png": pngQR,
	}[format]
	if !ok {
		return usageError{fmt.Errorf("--format %q: want terminal, text or png", format)}
	}
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	id, err := findIdentity(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), id)
}

// findIdentity asks the board only if there is no identity in the state folder:
// a camera that runs has the board open.
func findIdentity(ctx context.Context, cfg config.Config) (*identity.Identity, error) {
	id, err := agent.ReadIdentity(cfg, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	camera, err := openCamera(ctx, cfg)
	if err == nil {
		defer camera.Close()
	}
	return agent.LoadIdentity(cfg, storeOf(camera))
}

func textQR(w io.Writer, id *identity.Identity) error {
	_, err := fmt.Fprintln(w, identity.QRText(id).Reveal())
	return err
}

func pngQR(w io.Writer, id *identity.Identity) error {
	png, err := qrcode.Encode(identity.QRText(id).Reveal(), qrcode.Medium, 512)
	if err != nil {
		return fmt.Errorf("QR: %w", err)
	}
	_, err = w.Write(png)
	return err
}

// showQR draws the QR with half blocks, and what it says for typing by hand.
func showQR(w io.Writer, id *identity.Identity) error {
	code, err := qrcode.New(identity.QRText(id).Reveal(), qrcode.Medium)
	if err != nil {
		return fmt.Errorf("QR: %w", err)
	}
	c := id.Code.Reveal()
	_, err = fmt.Fprintf(w, "%s\n  serial  %s\n  code    %s-%s-%s-%s\n", code.ToSmallString(false), id.Serial.Plain(), c[:4], c[4:8], c[8:12], c[12:])
	return err
}
