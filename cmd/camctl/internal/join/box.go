package join

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of what is taken into memory of one clip, in bytes. R6.
const (
	maxHeader = 1 << 20  // ftyp, moov
	maxIndex  = 8 << 20  // moof
	maxData   = 64 << 20 // mdat of a fragment
)

var (
	errShort = errors.New("a box ends before its end")
	errCut   = errors.New("it ends in the middle of a box")
)

// readHead reads a box's head (ISO/IEC 14496-12, 4.2): its kind, and how much of
// it follows; io.EOF at the end of the file.
func readHead(r io.Reader) (kind string, body int64, err error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:8]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errCut
		}
		return "", 0, err
	}
	size, head := uint64(binary.BigEndian.Uint32(h[:])), uint64(8)
	if size == 1 {
		if _, err := io.ReadFull(r, h[8:]); err != nil {
			return "", 0, errCut
		}
		size, head = binary.BigEndian.Uint64(h[8:]), 16
	}
	if size < head || size > 1<<40 {
		return "", 0, fmt.Errorf("box %q has a size of %d bytes", h[4:8], size)
	}
	return string(h[4:8]), int64(size - head), nil
}

// readBody reads a box's body.
func readBody(r io.Reader, kind string, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("box %q of %d bytes, want %d at most", kind, size, limit)
	}
	// Memory grows with what comes, not with what is claimed.
	var b bytes.Buffer
	if n, err := io.CopyN(&b, r, size); err != nil && (n == size || !errors.Is(err, io.EOF)) {
		return nil, err
	} else if n < size {
		return nil, errCut
	}
	return b.Bytes(), nil
}

// writeBox writes a box that was taken apart by readHead and readBody.
func writeBox(w io.Writer, kind string, body []byte) error {
	h := binary.BigEndian.AppendUint32(make([]byte, 0, 8), uint32(len(body)+8))
	if _, err := w.Write(append(h, kind...)); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

// each calls fn for every box in a body; the bodies are parts of b.
func each(b []byte, fn func(kind string, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return errShort
		}
		size := uint64(binary.BigEndian.Uint32(b))
		if size < 8 || size > uint64(len(b)) {
			return fmt.Errorf("box %q has a size of %d bytes, of %d", b[4:8], size, len(b))
		}
		if err := fn(string(b[4:8]), b[8:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// full takes version and flags off a full box.
func full(body []byte) (version byte, flags uint32, rest []byte, err error) {
	if len(body) < 4 {
		return 0, 0, nil, errShort
	}
	v := binary.BigEndian.Uint32(body)
	return byte(v >> 24), v & 0xffffff, body[4:], nil
}

// number reads 4 bytes at an offset.
func number(b []byte, offset int) (uint32, error) {
	if len(b) < offset+4 {
		return 0, errShort
	}
	return binary.BigEndian.Uint32(b[offset:]), nil
}
