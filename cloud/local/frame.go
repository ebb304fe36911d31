package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"iid2secure.nl/camagent/cloud"
)

const (
	headLen   = 4
	maxFrame  = cloud.MaxMessage
	helloText = "iid2/local/1 "
	maxHello  = 64
)

var errHello = errors.New("hello: want " + helloText + "and a client id of this carrier")

// appendFrame puts msg into a frame behind b.
func appendFrame(b, msg []byte) ([]byte, error) {
	if len(msg) == 0 || len(msg) > maxFrame {
		return b, fmt.Errorf("frame of %d bytes: want 1 to %d", len(msg), maxFrame)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(msg)))
	return append(b, msg...), nil
}

// frameLen reads the length of a frame of at most limit bytes.
func frameLen(head []byte, limit int) (int, error) {
	n := binary.BigEndian.Uint32(head)
	if n == 0 || n > uint32(limit) {
		return 0, fmt.Errorf("frame of %d bytes: want 1 to %d", n, limit)
	}
	return int(n), nil
}

// readFrame reads one; begun is called once its head is there, and says how long
// it may be. An io.EOF is one between frames.
func readFrame(r io.Reader, begun func() int) ([]byte, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n, err := frameLen(head[:], begun())
	if err != nil {
		return nil, err
	}
	msg := make([]byte, n)
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, fmt.Errorf("frame of %d bytes cut short: %w", n, io.ErrUnexpectedEOF)
	}
	return msg, nil
}

func hello(client string) []byte { return []byte(helloText + client) }

func parseHello(msg []byte) (client string, err error) {
	client, ok := strings.CutPrefix(string(msg), helloText)
	if !ok || !IsClient(client) {
		return "", errHello
	}
	return client, nil
}
