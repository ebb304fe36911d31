package hal

import (
	"context"
	"image"
	"io"
	"io/fs"
	"time"
)

// Buttons lists the buttons; none without them.
func (c *Camera) Buttons() []string {
	b, err := find[Buttons](c, CapButtons)
	if err != nil {
		return nil
	}
	return b.Buttons()
}

// NextButton blocks for the next press or release; one reader.
func (c *Camera) NextButton(ctx context.Context) (ButtonEvent, error) {
	b, err := find[Buttons](c, CapButtons)
	if err != nil {
		return ButtonEvent{}, err
	}
	if err := c.button.take("buttons"); err != nil {
		return ButtonEvent{}, err
	}
	defer c.button.free()
	return b.NextButton(ctx)
}

// LEDs lists the indicators; none without them.
func (c *Camera) LEDs() []string {
	l, err := find[LEDs](c, CapLEDs)
	if err != nil {
		return nil
	}
	return l.LEDs()
}

// SetLED makes an indicator shine.
func (c *Camera) SetLED(name string, p Pattern) error {
	l, err := find[LEDs](c, CapLEDs)
	if err != nil {
		return err
	}
	if err := among("led", name, l.LEDs()); err != nil {
		return err
	}
	if p.On < 0 || p.Off < 0 || p.On > time.Minute || p.Off > time.Minute {
		return wrong("led "+name, p, "times of 0s to 1m")
	}
	return l.SetLED(name, p)
}

// SetSiren switches the siren.
func (c *Camera) SetSiren(on bool) error {
	s, err := find[Siren](c, CapSiren)
	if err != nil {
		return err
	}
	return s.SetSiren(on)
}

// Siren tells whether it sounds.
func (c *Camera) Siren() (bool, error) {
	s, err := find[Siren](c, CapSiren)
	if err != nil {
		return false, err
	}
	return s.Siren()
}

// Show shows a picture on the camera's display; nil clears it.
func (c *Camera) Show(picture image.Image) error {
	d, err := find[Display](c, CapDisplay)
	if err != nil {
		return err
	}
	return d.Show(picture)
}

// Readings measures the camera itself.
func (c *Camera) Readings(ctx context.Context) ([]Reading, error) {
	s, err := find[Sensors](c, CapSensors)
	if err != nil {
		return nil, err
	}
	return s.Readings(ctx)
}

// Identity returns the files of the device's identity as the board keeps them.
func (c *Camera) Identity() (fs.FS, error) {
	s, err := find[IdentityStore](c, CapIdentity)
	if err != nil {
		return nil, err
	}
	return s.Identity()
}

// Slots lists the places for firmware.
func (c *Camera) Slots() ([]Slot, error) {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return nil, err
	}
	return f.Slots()
}

// spare finds a slot by name; the active one is refused.
func (c *Camera) spare(name string) (Firmware, error) {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return nil, err
	}
	slots, err := f.Slots()
	if err != nil {
		return nil, err
	}
	var spare []string
	for _, s := range slots {
		if !s.Active {
			spare = append(spare, s.Name)
		}
	}
	return f, among("firmware slot", name, spare)
}

// WriteSlot fills a slot that is not active.
func (c *Camera) WriteSlot(ctx context.Context, slot string, r io.Reader) error {
	f, err := c.spare(slot)
	if err != nil {
		return err
	}
	return f.WriteSlot(ctx, slot, r)
}

// BootNext makes a written slot boot next time.
func (c *Camera) BootNext(slot string) error {
	f, err := c.spare(slot)
	if err != nil {
		return err
	}
	return f.BootNext(slot)
}

// Confirm tells that the running slot works.
func (c *Camera) Confirm() error {
	f, err := find[Firmware](c, CapFirmware)
	if err != nil {
		return err
	}
	return f.Confirm()
}
