package sim

import (
	"context"
	"errors"
	"net"
)

// ServeControl lets actions be triggered in a running board, by [Ask], until ctx
// ends; it closes l, and returns nil then. Whoever can connect can do it: use a
// unix socket in a private folder.
func (b *Board) ServeControl(ctx context.Context, l net.Listener) error {
	return errors.New("not yet")
}

// Ask sends one request to the board behind a control socket and returns its
// answer: {"unplug", "for=5s"} carries out an action, {"state"} returns the
// board's State as JSON, {"help"} lists the actions, without asking anybody.
func Ask(ctx context.Context, socketPath string, args []string) (string, error) {
	return "", errors.New("not yet")
}
