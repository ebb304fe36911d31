package v4l2

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"iid2secure.nl/camagent/hal"
)

// kinds of picture controls, by how hal's number and the driver's belong together.
type knob struct {
	id  string
	cid uint32
	// entries of a menu and hal's numbers for them; nil: the numbers are the same.
	menu map[int]int
}

// knobs are the picture controls of the contract, those first that are taken if
// a camera has two for one thing.
var knobs = []knob{
	{"brightness", cidBrightness, nil},
	{"contrast", cidContrast, nil},
	{"saturation", cidSaturation, nil},
	{"sharpness", cidSharpness, nil},
	{"exposure", cidExposure, nil},
	{"exposure", cidExposureAbsolute, nil},
	{"wdr", cidWideDynamicRange, nil},
	{"mirror", cidHFlip, nil},
	{"flip", cidVFlip, nil},
	{"grayscale", cidColorFX, map[int]int{0: 0, 1: 1}},
	{"antiflicker", cidPowerLine, map[int]int{0: 0, 1: 50, 2: 60}},
}

// control describes a knob as the device has it; false if it has none, or not
// the half of what the contract means by it.
func (k knob) control(d *device) (hal.Control, bool) {
	q, ok := d.query(k.cid)
	if !ok || q.Type == ctrlTypeButton {
		return hal.Control{}, false
	}
	c := hal.Control{ID: k.id, Range: hal.Range{Min: int(q.Min), Max: int(q.Max)}, Default: k.ours(int(q.Default))}
	if k.menu != nil {
		values := k.values(d, q)
		if len(values) < 2 {
			return c, false
		}
		c.Range = hal.Range{Min: values[0], Max: values[len(values)-1]}
	}
	if v, err := d.get(k.cid); err == nil {
		c.Value = k.ours(v)
	}
	return c, true
}

// values lists hal's numbers for the entries that the device has, sorted.
func (k knob) values(d *device, q queryControl) []int {
	var list []int
	for entry := range d.menu(q) {
		if v, ok := k.menu[entry]; ok {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return list
}

// ours makes hal's number of the driver's. An entry that hal doesn't know (the
// power line's "auto") counts as the first.
func (k knob) ours(value int) int {
	if k.menu == nil {
		return value
	}
	return k.menu[value]
}

// theirs makes the driver's number of hal's, the nearest that the device has.
func (k knob) theirs(d *device, value int) int {
	if k.menu == nil {
		return value
	}
	q, _ := d.query(k.cid)
	best, far := 0, -1
	for _, entry := range slices.Sorted(maps.Keys(d.menu(q))) {
		v, ok := k.menu[entry]
		if distance := max(v-value, value-v); ok && (far < 0 || distance < far) {
			best, far = entry, distance
		}
	}
	return best
}

// picture is the image controls of one camera.
type picture struct {
	board *Board
	knobs []knob

	mu  sync.Mutex
	set map[string]int // what was asked for: a camera that was away has forgotten it
}

// newPicture asks the device which controls it has; nil if none.
func newPicture(b *Board, d *device) *picture {
	p := &picture{board: b, set: map[string]int{}}
	seen := map[string]bool{}
	for _, k := range knobs {
		if _, ok := k.control(d); ok && !seen[k.id] {
			p.knobs = append(p.knobs, k)
			seen[k.id] = true
		}
	}
	if len(p.knobs) == 0 {
		return nil
	}
	return p
}

// ImageControls implements [hal.ImageTuner]; none while the camera is away.
func (p *picture) ImageControls() []hal.Control {
	var list []hal.Control
	_ = p.board.withMain(func(d *device) error {
		for _, k := range p.knobs {
			if c, ok := k.control(d); ok {
				list = append(list, c)
			}
		}
		return nil
	})
	return list
}

// SetImageControl implements [hal.ImageTuner].
func (p *picture) SetImageControl(id string, value int) (int, error) {
	i := slices.IndexFunc(p.knobs, func(k knob) bool { return k.id == id })
	if i < 0 {
		return 0, fmt.Errorf("image control %q: %w", id, hal.ErrArgument)
	}
	var is int
	err := p.board.withMain(func(d *device) (err error) {
		is, err = p.knobs[i].apply(d, value)
		return err
	})
	if err == nil {
		p.mu.Lock()
		p.set[id] = value
		p.mu.Unlock()
	}
	return is, err
}

// apply sets one control. The exposure's own default means automatic: setting
// another time switches the camera's automatic exposure off.
func (k knob) apply(d *device, value int) (int, error) {
	if k.cid == cidExposureAbsolute {
		if err := k.exposureMode(d, value); err != nil {
			return 0, err
		}
	}
	is, err := d.set(k.cid, k.theirs(d, value))
	if err != nil {
		return 0, d.fail("setting "+k.id, err)
	}
	return k.ours(is), nil
}

const manualExposure = 1 // V4L2_EXPOSURE_MANUAL

func (k knob) exposureMode(d *device, value int) error {
	mode, ok := d.query(cidExposureAuto)
	if !ok {
		return nil
	}
	q, _ := d.query(k.cid)
	want := manualExposure
	if value == int(q.Default) {
		want = int(mode.Default)
	}
	if _, err := d.set(cidExposureAuto, want); err != nil {
		return d.fail("setting the exposure's mode", err)
	}
	return nil
}

// restore sets again what was asked for.
func (p *picture) restore(d *device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.knobs {
		if v, ok := p.set[k.id]; ok {
			_, _ = k.apply(d, v) // a picture with other colours is better than none
		}
	}
}
