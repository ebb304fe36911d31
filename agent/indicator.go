package agent

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"time"

	"github.com/skip2/go-qrcode"

	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/hal"
)

// statusLED is the LED that tells people at the camera what it does.
const statusLED = "status"

// situation is what indicators show.
type situation int

const (
	unbound situation = iota
	pairing           // unbound, and the window is open
	offline           // bound, without a connection to the broker
	online
)

// patterns is how the LED shows each situation.
var patterns = map[situation]hal.Pattern{
	unbound: {},
	pairing: {On: 500 * time.Millisecond, Off: 500 * time.Millisecond},
	offline: {On: 200 * time.Millisecond, Off: 1800 * time.Millisecond},
	online:  {On: time.Second},
}

// situation is the camera's now.
func (a *Agent) situation() situation {
	switch {
	case a.Bound() && a.link != nil && a.link.Online():
		return online
	case a.Bound():
		return offline
	case a.pairing != nil && a.pairing.Open():
		return pairing
	}
	return unbound
}

// indicateEvery is how often the situation is looked at.
const indicateEvery = 500 * time.Millisecond

// indicate keeps the LED and the display, as far as there are any, as the
// camera's situation is. The display shows the QR until somebody has bound the
// camera.
func (a *Agent) indicate(ctx context.Context) error {
	var led, display func(situation) error
	if slices.Contains(a.board.LEDs(), statusLED) {
		led = onChange(func(s situation) error { return a.board.SetLED(statusLED, patterns[s]) })
	}
	if a.able(hal.CapDisplay) {
		display = onChange(a.showQR)
	}
	t := time.NewTicker(indicateEvery)
	defer t.Stop()
	for led != nil || display != nil {
		s := a.situation()
		if led != nil {
			a.health.report("led", led(s))
		}
		if display != nil {
			a.health.report("display", display(s))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), a.dark(led != nil))
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// onChange calls set when the situation is another one, and after a failure.
func onChange(set func(situation) error) func(situation) error {
	done, last := false, unbound
	return func(s situation) error {
		if done && s == last {
			return nil
		}
		err := set(s)
		done, last = err == nil, s
		return err
	}
}

// dark switches the LED off at the end: a daemon that is gone is not online.
func (a *Agent) dark(led bool) error {
	if !led {
		return nil
	}
	return a.board.SetLED(statusLED, hal.Pattern{})
}

// showQR shows what an owner scans, or clears the display of a bound camera.
func (a *Agent) showQR(s situation) error {
	if s == online || s == offline {
		return a.board.Show(nil)
	}
	picture, err := qrImage(a.id)
	if err != nil {
		return err
	}
	return a.board.Show(picture)
}

// qrImage is the code by which an owner binds the camera, a pixel a module.
func qrImage(id *identity.Identity) (image.Image, error) {
	code, err := qrcode.New(identity.QRText(id).Reveal(), qrcode.Medium)
	if err != nil {
		return nil, fmt.Errorf("QR: %w", err)
	}
	return code.Image(-1), nil
}
