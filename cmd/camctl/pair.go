package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"

	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/label"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
)

const (
	maxLine = 1 << 10
	maxName = 64
	// bookedPoll is how often the cloud is asked whether it has the receipt.
	bookedPoll = 250 * time.Millisecond
)

type pairFlags struct {
	serial, codeFile, image, name, owner, factory string
	codePrompt                                    bool
}

func (c *ctl) pairCommand() *cobra.Command {
	var f pairFlags
	cmd := &cobra.Command{
		Use:   "pair [QRTEXT|-]",
		Short: "Make a camera yours, by the QR code that it shows",
		Long: "Make a camera yours, by what its QR code says (IID2:…; - reads it from standard input), by a picture of it, " +
			"or by serial and verification code from its label.",
		Args: takes(0, 1, "one QR text"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.pair(cmd.Context(), args, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.image, "image", "", "PNG or JPEG picture of the QR code")
	fl.StringVar(&f.serial, "serial", "", "serial from the label, with --code-file or --code-prompt")
	fl.StringVar(&f.codeFile, "code-file", "", "file with the verification code")
	fl.BoolVar(&f.codePrompt, "code-prompt", false, "ask for the verification code on the terminal")
	fl.StringVar(&f.name, "name", "", "what you call the camera (default: camera-1, …)")
	fl.StringVar(&f.owner, "owner", "", "what the camera calls you (default: your login name)")
	fl.StringVar(&f.factory, "factory", "", "PEM file of the camera maker's certificate: take cameras of this factory alone")
	return cmd
}

// qr reads the label in the one way that was chosen.
func (c *ctl) qr(args []string, f pairFlags) (identity.QR, error) {
	ways := 0
	for _, given := range []bool{len(args) > 0, f.image != "", f.serial != ""} {
		if given {
			ways++
		}
	}
	byHand := f.codeFile != "" || f.codePrompt
	if ways != 1 || byHand != (f.serial != "") || f.codeFile != "" && f.codePrompt {
		return identity.QR{}, usage("pair: want one of: QRTEXT, -, --image FILE, or --serial SERIAL with --code-file FILE or --code-prompt")
	}
	switch {
	case f.image != "":
		return readImage(f.image)
	case f.serial != "":
		return c.byHand(f)
	case args[0] == "-":
		line, err := bufio.NewReader(io.LimitReader(c.in, maxLine)).ReadString('\n')
		if err != nil && err != io.EOF {
			return identity.QR{}, fmt.Errorf("standard input: %w", err)
		}
		return identity.ParseQR(line)
	}
	return identity.ParseQR(args[0])
}

func readImage(path string) (identity.QR, error) {
	file, err := os.Open(path)
	if err != nil {
		return identity.QR{}, fmt.Errorf("--image: %w", err)
	}
	defer file.Close()
	text, err := label.Read(file)
	if err != nil {
		return identity.QR{}, fmt.Errorf("--image: %s: %w", path, err)
	}
	// Parsing needs the text itself; its errors don't repeat it.
	return identity.ParseQR(text.Reveal())
}

func (c *ctl) byHand(f pairFlags) (identity.QR, error) {
	var code cloud.Secret
	if f.codePrompt {
		var err error
		if code, err = c.prompt("verification code: "); err != nil {
			return identity.QR{}, err
		}
	} else {
		b, err := readSome(f.codeFile, maxLine)
		if err != nil {
			return identity.QR{}, fmt.Errorf("--code-file: %w", err)
		}
		code = cloud.NewSecret(string(b))
	}
	return identity.ManualQR(f.serial, strings.TrimSpace(code.Reveal()))
}

func (c *ctl) pair(ctx context.Context, args []string, f pairFlags) error {
	qr, err := c.qr(args, f)
	if err != nil {
		return err
	}
	req := bind.PairRequest{QR: qr, Name: ownerName(f.owner)}
	if len(f.name) > maxName || len(req.Name) > maxName {
		return usage("pair: --name and --owner: at most %d bytes", maxName)
	}
	if req.Roots, err = factoryRoots(f.factory); err != nil {
		return err
	}
	o, err := c.pairing(ctx, qr.Serial, f.name)
	if err != nil {
		return err
	}
	cam, err := c.bindCamera(ctx, o, req)
	if err != nil {
		return err
	}
	c.awaitBooking(ctx, o, cam)
	return c.show(lineOf(cam), func(w io.Writer) { fmt.Fprintf(w, "paired: %s is yours\n", cam.Label()) })
}

// pairing finds who we are and what is known of the camera: nothing, or a
// pairing that was cut off.
func (c *ctl) pairing(ctx context.Context, serial cloud.Serial, name string) (o owned, err error) {
	if o.home, err = c.home(); err != nil {
		return o, err
	}
	list, err := o.home.Cameras()
	if err != nil {
		return o, err
	}
	if i := slices.IndexFunc(list, func(cam home.Camera) bool { return cam.Serial == serial }); i >= 0 {
		o.camera = list[i]
		if !o.camera.Pending {
			return o, fmt.Errorf("camera %s is paired already: it is yours", o.camera.Label())
		}
	}
	if o.camera.Name, err = freeName(name, o.camera, list); err != nil {
		return o, err
	}
	if o.owner, _, err = o.home.EnsureOwner(ctx); err != nil {
		return o, err
	}
	o.account, err = c.account(ctx, o.home)
	return o, err
}

// freeName is what the camera will be called: a name tells one camera.
func freeName(wish string, known home.Camera, list []home.Camera) (string, error) {
	taken := func(name string) bool {
		return slices.ContainsFunc(list, func(cam home.Camera) bool { return cam.Name == name && cam.Serial != known.Serial })
	}
	switch {
	case wish != "" && taken(wish):
		return "", fmt.Errorf("another camera is called %q already", wish)
	case wish != "":
		return wish, nil
	case known.Name != "":
		return known.Name, nil
	}
	for n := len(list) + 1; ; n++ {
		if name := fmt.Sprintf("camera-%d", n); !taken(name) {
			return name, nil
		}
	}
}

func ownerName(wish string) string {
	if wish != "" {
		return wish
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "owner"
}

func factoryRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readPEM("--factory", path)
	if err != nil {
		return nil, err
	}
	return home.Pool(text)
}

// bindCamera claims the camera at the cloud and pairs with it. A pairing whose
// end was lost is healed by a session: if that works, the camera is ours.
func (c *ctl) bindCamera(ctx context.Context, o owned, req bind.PairRequest) (home.Camera, error) {
	token, err := c.claim(ctx, o.account, req.QR.Serial)
	if err != nil {
		return home.Camera{}, err
	}
	broker, err := remote.Connect(ctx, o.home, o.account, c.timeout)
	if err != nil {
		return home.Camera{}, err
	}
	defer broker.Close()
	if o.camera.Pending && isOurs(ctx, broker, o) {
		return c.keep(o, o.camera.Camera)
	}
	req.ClientID, req.Owner, req.Recipient, req.ClaimToken = o.account.ClientID, o.owner.Noise, o.owner.Recipient, token
	req.Save = func(b bind.Camera) error {
		return o.home.SaveCamera(home.Camera{Camera: b, Name: o.camera.Name, Pending: true})
	}
	got, err := c.exchange(ctx, broker, req)
	if errors.Is(err, bind.ErrUnconfirmed) {
		o.camera = home.Camera{Camera: got, Name: o.camera.Name, Pending: true}
		if isOurs(ctx, broker, o) {
			return c.keep(o, got)
		}
	}
	if err != nil {
		return home.Camera{}, fmt.Errorf("pair with camera %v: %w", req.QR.Serial, err)
	}
	return c.keep(o, got)
}

func (c *ctl) exchange(ctx context.Context, broker *remote.Broker, req bind.PairRequest) (bind.Camera, error) {
	conn, err := broker.Conn(ctx, req.QR.Serial)
	if err != nil {
		return bind.Camera{}, err
	}
	defer conn.Close()
	pairing, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	cam, err := bind.Pair(pairing, conn, req)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = bind.ErrNoAnswer
	}
	return cam, err
}

func (c *ctl) claim(ctx context.Context, a home.Account, serial cloud.Serial) (cloud.Secret, error) {
	client, err := cloudClient(a)
	if err != nil {
		return cloud.Secret{}, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	claim, err := client.Claim(ctx, serial)
	if err != nil {
		return cloud.Secret{}, explainCloud(err)
	}
	return claim.Token.Secret(), nil
}

// isOurs tells whether a session with the camera can be opened and used.
func isOurs(ctx context.Context, broker *remote.Broker, o owned) bool {
	s, err := broker.Session(ctx, o.owner, o.camera)
	if err != nil {
		return false
	}
	defer s.Close()
	_, err = command.StatusGet.Call(ctx, s, command.None{})
	return err == nil
}

func (c *ctl) keep(o owned, b bind.Camera) (home.Camera, error) {
	cam := home.Camera{Camera: b, Name: o.camera.Name}
	return cam, o.home.SaveCamera(cam)
}

// awaitBooking waits until the cloud has the camera's receipt, so that what
// comes next finds the camera there. It is no failure if it takes longer.
func (c *ctl) awaitBooking(ctx context.Context, o owned, cam home.Camera) {
	client, err := cloudClient(o.account)
	if err != nil {
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		known, err := client.Camera(ctx, cam.Serial)
		if err == nil && known.BindID == cam.BindID {
			return
		}
		select {
		case <-ctx.Done():
			c.warn("the camera is yours, but the cloud has not booked it yet: that follows when the camera reaches it")
			return
		case <-time.After(bookedPoll):
		}
	}
}
