package v4l2

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Selectors of the H.264 extension unit, and its picture types.
const (
	xuPictureType = 9
	xuBitrate     = 14

	pictureIDRWithSets = 2 // an IDR picture with new SPS and PPS
)

const (
	pictureTypeBytes = 4  // layer, type; 16 bit each
	bitrateBytes     = 10 // layer, 16 bit; peak and average, 32 bit each
)

// xuCall asks the extension unit; data is written or filled, as query says.
func (d *device) xuCall(unit byte, selector int, query byte, data []byte) error {
	q := xuQuery{Unit: unit, Selector: byte(selector), Query: query, Size: uint16(len(data)), Data: unsafe.SliceData(data)}
	err := d.ioctl(calls.xu, unsafe.Pointer(&q))
	runtime.KeepAlive(data)
	return err
}

// xuSettable tells whether the unit has a selector of this length that can be set.
func (d *device) xuSettable(u *uvc, selector, length int) bool {
	if !u.has(selector) {
		return false
	}
	var is [2]byte
	if d.xuCall(u.unit, selector, uvcGetLen, is[:]) != nil || int(binary.LittleEndian.Uint16(is[:])) != length {
		return false
	}
	var info [1]byte
	const supportsSet = 2
	return d.xuCall(u.unit, selector, uvcGetInfo, info[:]) == nil && info[0]&supportsSet != 0
}

func (d *device) xuForceKey(unit byte) error {
	var b [pictureTypeBytes]byte
	binary.LittleEndian.PutUint16(b[2:], pictureIDRWithSets)
	return d.xuCall(unit, xuPictureType, uvcSetCur, b[:])
}

// xuSetBitrate returns what is then in force. The peak is a quarter above the
// average, which is the number that is meant.
func (d *device) xuSetBitrate(unit byte, bps int) (int, error) {
	var b [bitrateBytes]byte
	binary.LittleEndian.PutUint32(b[2:], uint32(bps+bps/4))
	binary.LittleEndian.PutUint32(b[6:], uint32(bps))
	if err := d.xuCall(unit, xuBitrate, uvcSetCur, b[:]); err != nil {
		return 0, err
	}
	return d.xuBitrate(unit)
}

func (d *device) xuBitrate(unit byte) (int, error) {
	var b [bitrateBytes]byte
	if err := d.xuCall(unit, xuBitrate, uvcGetCur, b[:]); err != nil {
		return 0, err
	}
	bps := int(binary.LittleEndian.Uint32(b[6:]))
	if bps <= 0 || bps > 1e9 {
		return 0, fmt.Errorf("the camera tells a bitrate of %d: %w", bps, unix.EPROTO)
	}
	return bps, nil
}
