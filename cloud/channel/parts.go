package channel

import (
	"encoding/binary"
	"fmt"
)

const (
	kindJSON   = 1
	partHead   = 9        // kind, number, part, parts
	maxPart    = 32 << 10 // of a piece
	maxCommand = 64 << 10 // of a whole command
	maxReply   = 1 << 20  // of a whole reply
)

// split cuts one JSON message into plaintexts.
func split(number uint32, msg []byte) [][]byte {
	parts := max(1, (len(msg)+maxPart-1)/maxPart)
	out := make([][]byte, 0, parts)
	for i := range parts {
		piece := msg[i*maxPart : min(len(msg), (i+1)*maxPart)]
		b := make([]byte, 0, partHead+len(piece))
		b = append(b, kindJSON)
		b = binary.BigEndian.AppendUint32(b, number)
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = binary.BigEndian.AppendUint16(b, uint16(parts))
		out = append(out, append(b, piece...))
	}
	return out
}

// joiner puts one message of several parts at a time together, its parts in any
// order. Those of one part pass by.
type joiner struct {
	limit  int // of a message, in bytes
	begun  bool
	number uint32
	pieces [][]byte
	left   int // pieces that are missing
	size   int
}

// add takes one authenticated plaintext and returns the message that it
// completes, or nil. R6.
func (j *joiner) add(plain []byte) ([]byte, error) {
	if len(plain) == 0 || plain[0] != kindJSON {
		return nil, nil
	}
	if len(plain) < partHead || len(plain) > partHead+maxPart {
		return nil, fmt.Errorf("piece of %d bytes", len(plain))
	}
	number := binary.BigEndian.Uint32(plain[1:])
	part, parts := int(binary.BigEndian.Uint16(plain[5:])), int(binary.BigEndian.Uint16(plain[7:]))
	if parts == 0 || part >= parts || parts > j.limit/maxPart {
		return nil, fmt.Errorf("piece %d of %d", part, parts)
	}
	if parts == 1 {
		return plain[partHead:], nil
	}
	if j.begun && number < j.number {
		return nil, nil
	}
	if !j.begun || number > j.number {
		*j = joiner{limit: j.limit, begun: true, number: number, pieces: make([][]byte, parts), left: parts}
	}
	if part >= len(j.pieces) || len(j.pieces) != parts || j.pieces[part] != nil {
		return nil, nil
	}
	j.pieces[part] = plain[partHead:]
	j.size += len(plain) - partHead
	if j.left--; j.left > 0 {
		return nil, nil
	}
	return j.finish(), nil
}

func (j *joiner) finish() []byte {
	msg := make([]byte, 0, j.size)
	for _, p := range j.pieces {
		msg = append(msg, p...)
	}
	j.pieces = nil
	return msg
}
