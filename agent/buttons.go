package agent

import (
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// resetButton opens the pairing window.
const resetButton = "reset"

// pressed opens the pairing window at every signal, for boards without a button.
func (a *Agent) pressed(ctx context.Context, button <-chan os.Signal) error {
	for {
		select {
		case <-button:
			a.openWindow()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// openWindow lets the camera be bound for a while; a bound one takes no notice.
func (a *Agent) openWindow() {
	if a.pairing == nil {
		return
	}
	if err := a.pairing.OpenWindow(); err != nil {
		a.log.Error("pairing window", zap.Error(err))
	}
}

// watchButtons takes what is pressed on the camera, if it has buttons.
func (a *Agent) watchButtons(ctx context.Context) error {
	if !a.able(hal.CapButtons) {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.camera.reopen(ctx, "buttons", a.readButtons)
}

// buttonsWork is how long a reader of buttons must have waited to count as working.
const buttonsWork = 2 * time.Second

func (a *Agent) readButtons(ctx context.Context, up func()) error {
	first, cancel := context.WithTimeout(ctx, buttonsWork)
	defer cancel()
	wait := first
	for {
		e, err := a.board.NextButton(wait)
		switch {
		case err == nil:
			a.button(e)
			up()
		case wait == first && first.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			up()
			wait = ctx
		default:
			return err
		}
	}
}

func (a *Agent) button(e hal.ButtonEvent) {
	a.log.Info("button", zap.String("button", e.Button), zap.Bool("pressed", e.Pressed))
	if e.Button == resetButton && e.Pressed {
		a.openWindow()
	}
}
