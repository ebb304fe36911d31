// Camctl is the owner's side on the command line: it pairs with cameras, asks
// and commands them in end-to-end sessions, and fetches, verifies and decrypts
// what they recorded. It also is the factory: it makes the identities of
// cameras. This package holds commands, flags, and how results and errors look;
// the work is done in its internal packages and in those of the cloud.
//
// Secrets are read from files, the environment or a terminal, never from
// arguments (but for the QR text, which may also come by standard input), and
// printed by nothing but live, whose purpose it is.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := &ctl{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	code := c.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
