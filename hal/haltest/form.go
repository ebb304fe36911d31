package haltest

import (
	"errors"
	"fmt"

	"iid2secure.nl/camagent/hal"
)

// form tells what of a frame is not as hal.AccessUnit says.
func form(au *hal.AccessUnit) error {
	at, idr, slices := 0, false, 0
	var sps, pps bool
	for n := range au.NALs() {
		kind := n[0] & 31
		inParams := at < au.Params
		at += 4 + len(n)
		switch {
		case kind == hal.NALSPS || kind == hal.NALPPS:
			sps, pps = sps || kind == hal.NALSPS, pps || kind == hal.NALPPS
			if !inParams {
				return errors.New("parameter sets behind what Params says")
			}
		case inParams:
			return fmt.Errorf("a NAL unit of type %d among the parameter sets", kind)
		case kind == hal.NALAUD || kind >= 10 && kind <= 12:
			return fmt.Errorf("a NAL unit of type %d, want it dropped", kind)
		case kind >= 1 && kind <= 5:
			slices++
			idr = idr || kind == hal.NALIDR
		}
		if n[len(n)-1] == 0 {
			return errors.New("zeros at the end of a NAL unit")
		}
	}
	switch {
	case at != len(au.Data):
		return fmt.Errorf("%d bytes at the end are no NAL unit behind its length", len(au.Data)-at)
	case slices == 0:
		return errors.New("no picture in it")
	case idr != au.Key:
		return fmt.Errorf("Key is %v and it is an IDR picture: %v", au.Key, idr)
	case au.Key && !(sps && pps):
		return errors.New("a key frame without SPS and PPS in front")
	}
	return nil
}
