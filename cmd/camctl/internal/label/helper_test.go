package label_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

func scan(m string, x, y *int) error {
	_, err := fmt.Sscanf(m, "%d %dh1v1h-1z", x, y)
	return err
}

// patchSize writes another size into a PNG's first chunk.
func patchSize(b []byte, side uint32) []byte {
	binary.BigEndian.PutUint32(b[16:], side)
	binary.BigEndian.PutUint32(b[20:], side)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}
