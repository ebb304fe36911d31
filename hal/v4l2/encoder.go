package v4l2

import (
	"unsafe"

	"iid2secure.nl/camagent/hal"
)

// encoder is what can be asked of a camera's encoder while it runs, and how.
type encoder struct {
	unit    byte // of the extension unit
	byUnit  struct{ key, bitrate bool }
	key     bool // by the driver's control
	rate    bool
	gop     uint32    // the control's number; 0: none
	bitrate hal.Range // zero: can't be set
	gops    hal.Range
}

// probeEncoder asks what there is for pictures of size s.
func probeEncoder(d *device, u *uvc, s size) encoder {
	e := encoder{unit: u.unit}
	e.byUnit.key = d.xuSettable(u, xuPictureType, pictureTypeBytes)
	if e.byUnit.bitrate = d.xuSettable(u, xuBitrate, bitrateBytes); e.byUnit.bitrate {
		if e.bitrate = u.bitrate(s); e.bitrate == (hal.Range{}) {
			e.bitrate = hal.Range{Min: leastBitrate, Max: mostBitrate}
		}
	}
	e.key = d.has(cidForceKey)
	if q, ok := d.query(cidBitrate); ok && !e.byUnit.bitrate {
		e.rate, e.bitrate = true, hal.Range{Min: max(int(q.Min), 1), Max: int(q.Max)}
	}
	for _, id := range []uint32{cidH264IPeriod, cidGOPSize} {
		if q, ok := d.query(id); ok && e.gop == 0 {
			e.gop, e.gops = id, hal.Range{Min: max(int(q.Min), 1), Max: int(q.Max)}
		}
	}
	return e
}

func (e *encoder) canKey() bool  { return e.byUnit.key || e.key }
func (e *encoder) canTune() bool { return e.bitrate != (hal.Range{}) || e.gop != 0 }

func (e *encoder) forceKey(d *device) error {
	var err error
	switch {
	case e.byUnit.key:
		err = d.xuForceKey(e.unit)
	case e.key:
		c := control{ID: cidForceKey, Value: 1}
		err = d.ioctl(calls.sCtrl, unsafe.Pointer(&c))
	default:
		return nil // the next one comes by itself
	}
	if err != nil {
		return d.fail("asking for a key frame", err)
	}
	return nil
}

// tune sets what it can of a wish; zero fields stay.
func (e *encoder) tune(d *device, want hal.VideoConfig) error {
	var err error
	switch {
	case want.Bitrate <= 0:
	case e.byUnit.bitrate:
		_, err = d.xuSetBitrate(e.unit, within(want.Bitrate, e.bitrate))
	case e.rate:
		_, err = d.set(cidBitrate, within(want.Bitrate, e.bitrate))
	}
	if err == nil && want.GOP > 0 && e.gop != 0 {
		_, err = d.set(e.gop, within(want.GOP, e.gops))
	}
	if err != nil {
		return d.fail("setting the encoder", err)
	}
	return nil
}

func within(v int, r hal.Range) int { return min(max(v, r.Min), r.Max) }

// config tells what is set, as far as the device says; zero: it doesn't.
func (e *encoder) config(d *device) hal.VideoConfig {
	var c hal.VideoConfig
	switch {
	case e.byUnit.bitrate:
		c.Bitrate, _ = d.xuBitrate(e.unit)
	case e.rate:
		c.Bitrate, _ = d.get(cidBitrate)
	}
	if e.gop != 0 {
		c.GOP, _ = d.get(e.gop)
	}
	return c
}
