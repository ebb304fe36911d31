package agent

import (
	"context"
	"errors"
	"image"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// panel is a part with a button, an LED and a display, as tests want them.
type panel struct {
	events chan hal.ButtonEvent
	broken chan error // an error in it ends the reader, and refuses LED and display

	mu      sync.Mutex
	led     []hal.Pattern
	display []image.Image
	reads   int
}

func newPanel() *panel {
	return &panel{events: make(chan hal.ButtonEvent, 4), broken: make(chan error, 4)}
}

func (p *panel) Buttons() []string { return []string{"reset", "doorbell"} }

func (p *panel) NextButton(ctx context.Context) (hal.ButtonEvent, error) {
	p.mu.Lock()
	p.reads++
	p.mu.Unlock()
	select {
	case e := <-p.events:
		return e, nil
	case err := <-p.broken:
		return hal.ButtonEvent{}, err
	case <-ctx.Done():
		return hal.ButtonEvent{}, ctx.Err()
	}
}

func (p *panel) LEDs() []string { return []string{"status"} }

func (p *panel) SetLED(_ string, pattern hal.Pattern) error {
	select {
	case err := <-p.broken:
		return err
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.led = append(p.led, pattern)
	return nil
}

func (p *panel) Show(picture image.Image) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.display = append(p.display, picture)
	return nil
}

// panelAgent is as much of a camera as buttons and indicators need.
func panelAgent(t *testing.T, p *panel) (*Agent, *bind.Store) {
	t.Helper()
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	store, err := bind.Open(t.TempDir(), id)
	require.NoError(t, err)
	a := &Agent{log: zap.NewNop(), id: id, binding: store, health: newHealth(zap.NewNop())}
	a.board = hal.NewCamera(struct{ hal.Board }{sim.New(sim.Config{})}, p)
	a.camera = newCamera(a.board, nil, nil, a.health, a.log)
	a.pairing = bind.NewPairing(store, bind.PairingConfig{Send: func(string, []byte) {}})
	return a, store
}

func TestS2_ResetButtonOpensThePairingWindow(t *testing.T) {
	t.Parallel()
	p := newPanel()
	a, _ := panelAgent(t, p)
	synctest.Test(t, func(t *testing.T) {
		p.events, p.broken = make(chan hal.ButtonEvent, 4), make(chan error, 4) // of this bubble
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- a.pairing.Run(ctx) }()
		go func() { done <- a.watchButtons(ctx) }()
		time.Sleep(11 * time.Minute)
		for _, e := range []hal.ButtonEvent{{Button: "doorbell", Pressed: true}, {Button: "reset"}} {
			p.events <- e
			synctest.Wait()
			require.False(t, a.pairing.Open(), "%+v", e)
		}
		p.events <- hal.ButtonEvent{Button: "reset", Pressed: true}
		synctest.Wait()
		require.True(t, a.pairing.Open())
		cancel()
		<-done
		<-done
	})
}

func TestR4_ButtonsThatFailAreOpenedAgainAndThatIsTold(t *testing.T) {
	t.Parallel()
	p := newPanel()
	a, _ := panelAgent(t, p)
	synctest.Test(t, func(t *testing.T) {
		p.events, p.broken = make(chan hal.ButtonEvent, 4), make(chan error, 4)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.watchButtons(ctx) }()
		time.Sleep(time.Minute)
		p.broken <- hal.ErrGone
		synctest.Wait()
		list := a.health.conditions()
		require.Len(t, list, 1)
		require.Equal(t, "buttons", list[0].Code)
		time.Sleep(minReopen + buttonsWork)
		synctest.Wait()
		require.Empty(t, a.health.conditions(), "it works again, without a press")
		require.LessOrEqual(t, p.reads, 4, "the reader polls")
		p.events <- hal.ButtonEvent{Button: "reset", Pressed: true}
		synctest.Wait()
		require.Empty(t, p.events, "nobody reads the buttons any more")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestM7_IndicatorsShowWhatTheCameraDoes(t *testing.T) {
	t.Parallel()
	p := newPanel()
	a, _ := panelAgent(t, p)
	synctest.Test(t, func(t *testing.T) {
		p.broken = make(chan error, 4)
		p.broken <- errors.New("the LED's line is gone")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		run, stop := context.WithCancel(ctx)
		go func() { done <- a.indicate(ctx) }()
		synctest.Wait()
		require.Len(t, a.health.conditions(), 1, "the LED failed")
		time.Sleep(indicateEvery)
		synctest.Wait()
		require.Empty(t, a.health.conditions())
		require.Equal(t, []hal.Pattern{{}}, p.led)
		require.Len(t, p.display, 1, "the QR")
		side := p.display[0].Bounds().Dx()
		require.True(t, side > 20 && side < 80, "%d pixels: one a module", side)

		go func() { done <- a.pairing.Run(run) }()
		time.Sleep(2 * indicateEvery)
		synctest.Wait()
		require.Equal(t, patterns[pairing], p.led[len(p.led)-1])
		require.Len(t, p.led, 2, "it is set when it changes")
		stop()
		cancel()
		<-done
		<-done
		require.Equal(t, hal.Pattern{}, p.led[len(p.led)-1], "a camera that is off shines")
	})
}

func TestSituationsHaveDifferentPatterns(t *testing.T) {
	t.Parallel()
	seen := map[hal.Pattern]situation{}
	for s := unbound; s <= online; s++ {
		pattern, ok := patterns[s]
		require.True(t, ok, "situation %d", s)
		_, twice := seen[pattern]
		require.False(t, twice, "%v", pattern)
		seen[pattern] = s
	}
	require.Zero(t, patterns[online].Off, "steady")
}
