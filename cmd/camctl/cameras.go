package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/cloud"

	"iid2secure.nl/camagent/cmd/camctl/internal/fetch"
	"iid2secure.nl/camagent/cmd/camctl/internal/home"
	"iid2secure.nl/camagent/cmd/camctl/internal/remote"
	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

func (c *ctl) camerasCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cameras", Short: "List your cameras", Args: takes(0, 0, ""),
		RunE: func(*cobra.Command, []string) error { return c.cameras() },
	}
}

// cameraLine is a camera in a list: the one place that shows serials in full.
type cameraLine struct {
	Serial cloud.Serial `json:"serial"`
	Name   string       `json:"name"`
	Epoch  uint64       `json:"epoch"`
	BindID string       `json:"bind_id"`
	State  string       `json:"state"` // paired, pending
}

func lineOf(cam home.Camera) cameraLine {
	l := cameraLine{cam.Serial, cam.Name, cam.Epoch, cam.BindID, "paired"}
	if cam.Pending {
		l.State = "pending"
	}
	return l
}

func (c *ctl) cameras() error {
	h, err := c.home()
	if err != nil {
		return err
	}
	list, err := h.Cameras()
	if err != nil {
		return err
	}
	lines := make([]cameraLine, len(list))
	for i, cam := range list {
		lines[i] = lineOf(cam)
	}
	return c.show(lines, func(w io.Writer) {
		if len(lines) == 0 {
			fmt.Fprintln(w, "no cameras yet: camctl pair QRTEXT")
			return
		}
		fmt.Fprintln(w, "SERIAL\tNAME\tSTATE")
		for _, l := range lines {
			fmt.Fprintf(w, "%s\t%s\t%s\n", l.Serial.Plain(), l.Name, l.State)
		}
	})
}

// pick finds the camera that --camera names, or the only one.
func (c *ctl) pick(h *home.Home) (home.Camera, error) {
	list, err := h.Cameras()
	if err != nil {
		return home.Camera{}, err
	}
	var found []home.Camera
	serial, _ := cloud.ParseSerial(c.camera)
	for _, cam := range list {
		if c.camera == "" || cam.Name == c.camera || cam.Serial == serial {
			found = append(found, cam)
		}
	}
	switch {
	case len(found) == 1 && found[0].Pending:
		return home.Camera{}, fmt.Errorf("the pairing of %s is not finished: run camctl pair again", found[0].Label())
	case len(found) == 1:
		return found[0], nil
	case len(list) == 0:
		return home.Camera{}, errors.New("no camera is paired here: run camctl pair QRTEXT")
	case len(found) > 1:
		return home.Camera{}, usage("which camera? give --camera with a serial or name: %s", labels(found))
	case serial != "":
		return home.Camera{}, fmt.Errorf("camera %v is not paired here: there are %s", serial, labels(list))
	}
	// What was typed may be a serial with a slip, so it is not repeated. P8.
	return home.Camera{}, fmt.Errorf("--camera is neither the serial nor the name of a camera that is paired here: there are %s", labels(list))
}

func labels(list []home.Camera) string {
	var out []string
	for _, cam := range list {
		out = append(out, cam.Label())
	}
	return strings.Join(out, ", ")
}

// owned is a camera with all that is needed to reach it.
type owned struct {
	home    *home.Home
	owner   home.Owner
	account home.Account
	noCloud error // why the account is of no use; nil: it is
	camera  home.Camera
}

// own finds the camera, and who and where we are. Without an account a camera can
// still be reached on the local network.
func (c *ctl) own(ctx context.Context) (o owned, err error) {
	if o.home, err = c.home(); err != nil {
		return o, err
	}
	if o.camera, err = c.pick(o.home); err != nil {
		return o, err
	}
	if o.owner, err = o.home.Owner(); err != nil {
		return o, err
	}
	if c.lan == remote.Auto || c.lan == remote.Off {
		o.account, o.noCloud = c.account(ctx, o.home)
	} else { // nor need the cloud be there
		o.account, o.noCloud = o.home.Account()
	}
	return o, nil
}

// session runs fn in a session with the camera.
func (c *ctl) session(ctx context.Context, o owned, fn func(*remote.Session) error) error {
	s, err := remote.Open(ctx, remote.Target{Home: o.home, Owner: o.owner, Camera: o.camera, Account: o.account,
		NoAccount: o.noCloud, Timeout: c.timeout, LAN: c.lan, Find: c.find})
	if err != nil {
		return err
	}
	defer s.Close()
	return fn(s)
}

// getter reads the camera's objects from the cloud; closed by its caller.
func (c *ctl) getter(o owned) (g *fetch.Getter, done func(), err error) {
	if o.noCloud != nil {
		return nil, nil, o.noCloud
	}
	client, err := cloudClient(o.account)
	if err != nil {
		return nil, nil, err
	}
	g = c.opener(o)
	g.Source = client
	return g, client.Close, nil
}

// opener opens what was had from elsewhere.
func (c *ctl) opener(o owned) *fetch.Getter {
	return &fetch.Getter{Secret: o.owner.Age, Stall: c.timeout,
		Camera: verify.Camera{Serial: o.camera.Serial, Epoch: o.camera.Epoch, BindID: o.camera.BindID, Signing: o.camera.Signing}}
}
