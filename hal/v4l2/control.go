package v4l2

import (
	"unsafe"
)

// Control numbers of linux/v4l2-controls.h.
const (
	cidBrightness       = 0x00980900
	cidContrast         = 0x00980901
	cidSaturation       = 0x00980902
	cidExposure         = 0x00980911
	cidHFlip            = 0x00980914
	cidVFlip            = 0x00980915
	cidPowerLine        = 0x00980918
	cidSharpness        = 0x0098091b
	cidColorFX          = 0x0098091f
	cidGOPSize          = 0x009909cb
	cidBitrate          = 0x009909cf
	cidRepeatHeaders    = 0x009909e2
	cidForceKey         = 0x009909e5
	cidH264IPeriod      = 0x00990a66
	cidExposureAuto     = 0x009a0901
	cidExposureAbsolute = 0x009a0902
	cidWideDynamicRange = 0x009a0915
)

// query tells what a control is; false if the device has none of that number
// that can be set.
func (d *device) query(id uint32) (queryControl, bool) {
	q := queryControl{ID: id}
	if d.ioctl(calls.queryCtrl, unsafe.Pointer(&q)) != nil {
		return q, false
	}
	return q, q.Flags&(ctrlDisabled|ctrlReadOnly) == 0 && (q.Type == ctrlTypeButton || q.Min < q.Max)
}

func (d *device) has(id uint32) bool { _, ok := d.query(id); return ok }

func (d *device) get(id uint32) (int, error) {
	c := control{ID: id}
	err := d.ioctl(calls.gCtrl, unsafe.Pointer(&c))
	return int(c.Value), err
}

// set returns the value that is then in force.
func (d *device) set(id uint32, value int) (int, error) {
	c := control{ID: id, Value: int32(value)}
	if err := d.ioctl(calls.sCtrl, unsafe.Pointer(&c)); err != nil {
		return 0, err
	}
	if now, err := d.get(id); err == nil {
		return now, nil
	}
	return int(c.Value), nil // a button has no value to be read
}

// menu tells which entries of a menu the device has.
func (d *device) menu(q queryControl) map[int]bool {
	has := map[int]bool{}
	for i := max(q.Min, 0); i <= min(q.Max, most); i++ {
		m := queryMenu{ID: q.ID, Index: uint32(i)}
		if d.ioctl(calls.queryMenu, unsafe.Pointer(&m)) == nil {
			has[int(i)] = true
		}
	}
	return has
}
