package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// box is one of a file's boxes (ISO/IEC 14496-12, 4.2); whole is false for one
// whose end is missing.
type box struct {
	kind  string
	body  []byte
	whole bool
}

func boxes(b []byte) (list []box, err error) {
	for len(b) >= 8 {
		size := int(binary.BigEndian.Uint32(b))
		if size < 8 {
			return list, fmt.Errorf("a box %q of %d bytes", b[4:8], size)
		}
		end := min(size, len(b))
		list = append(list, box{string(b[4:8]), b[8:end], end == size})
		b = b[end:]
	}
	return list, nil
}

// Pictures counts those of the first track whose fragment is whole.
func Pictures(plain []byte) (n int, err error) {
	list, err := boxes(plain)
	if err != nil {
		return 0, err
	}
	if len(list) < 2 || list[0].kind != "ftyp" || list[1].kind != "moov" || !list[1].whole {
		return 0, errors.New("it does not begin with ftyp and moov")
	}
	for i := 2; i+1 < len(list); i += 2 {
		if list[i].kind != "moof" || list[i+1].kind != "mdat" {
			return n, fmt.Errorf("%s and %s, want moof and mdat", list[i].kind, list[i+1].kind)
		}
		if !list[i+1].whole {
			break
		}
		more, err := samples(list[i].body)
		if err != nil {
			return n, err
		}
		n += more
	}
	return n, nil
}

// samples counts those of track 1 in a moof.
func samples(moof []byte) (n int, err error) {
	list, err := boxes(moof)
	for _, traf := range list {
		if traf.kind != "traf" || err != nil {
			continue
		}
		var parts []box
		parts, err = boxes(traf.body)
		track := 0
		for _, p := range parts {
			switch {
			case p.kind == "tfhd" && len(p.body) >= 8:
				track = int(binary.BigEndian.Uint32(p.body[4:]))
			case p.kind == "trun" && len(p.body) >= 8 && track == 1:
				n += int(binary.BigEndian.Uint32(p.body[4:]))
			}
		}
	}
	return n, err
}
