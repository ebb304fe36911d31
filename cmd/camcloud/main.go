// Command camcloud is the small cloud: MQTT broker, upload grants, bindings and
// the HTTPS API of apps. It is trusted for delivery only: it can't watch,
// listen, command, or take over a camera.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
