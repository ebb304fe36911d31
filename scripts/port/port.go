// Package port finds ports of loopback for servers that tests and development
// end and start again where they were.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Linux gives outgoing connections ports from 32768 on. A client that goes on
// calling a server of such a port while it is away may get that very port, and
// is then connected with itself; nobody can listen there any more.
const (
	first = 10000
	past  = 32000
)

// Free returns 127.0.0.1 with a port that nobody listened on a moment ago, and
// that no outgoing connection is given.
func Free() (string, error) {
	var err error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(past-first))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("no free port on 127.0.0.1: %w", err)
}
