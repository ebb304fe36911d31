package seal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The layout of an age file (age-encryption.org/v1): lines of text of which the
// last one begins with the footer's mark, a nonce, and chunks of the same size,
// each with its tag; the last one alone may be smaller.
const (
	ageIntro   = "age-encryption.org/v1\n"
	ageFooter  = "--- "
	nonceSize  = 16
	chunkPlain = 64 << 10
	chunkSize  = chunkPlain + 16
	// maxHeader bounds the lines of text: some 100 bytes a recipient.
	maxHeader = 64 << 10
)

// ErrNotSealed is a file that is no age file.
var ErrNotSealed = errors.New("not an age file")

// Whole tells how much of an age file that a power cut ended is whole: bytes of
// the file, and of plaintext in them. It needs no key, so it can't tell whether
// those bytes are what was written. What is left of a chunk that is not full
// does not count, a file's regular end included; both are 0 if there is no full
// chunk. Errors: ErrNotSealed, and those of r.
func Whole(r io.ReadSeeker) (sealed, plain int64, err error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, 0, fmt.Errorf("cut age file: %w", err)
	}
	header, err := headerSize(bufio.NewReader(r))
	if err != nil {
		return 0, 0, fmt.Errorf("cut age file: %w", err)
	}
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("cut age file: %w", err)
	}
	begin := header + nonceSize
	if header == 0 || size < begin+chunkSize {
		return 0, 0, nil
	}
	n := (size - begin) / chunkSize
	return begin + n*chunkSize, n * chunkPlain, nil
}

// headerSize is where the nonce begins; 0 if the header itself was cut.
func headerSize(r *bufio.Reader) (int64, error) {
	size := 0
	for {
		line, err := r.ReadSlice('\n')
		cut := errors.Is(err, io.EOF)
		if err != nil && !cut && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
		if intro := []byte(ageIntro); size == 0 && !bytes.Equal(line, intro) && !(cut && bytes.HasPrefix(intro, line)) {
			return 0, ErrNotSealed
		}
		if cut {
			return 0, nil
		}
		if size += len(line); err != nil || size > maxHeader {
			return 0, fmt.Errorf("%w: its header does not end", ErrNotSealed)
		}
		if bytes.HasPrefix(line, []byte(ageFooter)) {
			return int64(size), nil
		}
	}
}
