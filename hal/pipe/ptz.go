package pipe

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"iid2secure.nl/camagent/hal"
)

type ptz struct{ b *Framed }

// Axes implements [hal.PTZ].
func (p ptz) Axes() (pan, tilt, zoom bool) {
	a := p.b.hello.PTZ
	return a.Pan, a.Tilt, a.Zoom
}

// Position implements [hal.PTZ].
func (p ptz) Position() (at hal.Position, err error) {
	answer, err := p.ask("position")
	if err != nil {
		return at, err
	}
	f := strings.Fields(string(answer))
	if len(f) != 3 {
		return at, fmt.Errorf("sidecar board: position: the answer %q, want pan, tilt and zoom", oneLine(answer))
	}
	for i, to := range []*float64{&at.Pan, &at.Tilt, &at.Zoom} {
		if *to, err = finite(f[i]); err != nil {
			return hal.Position{}, err
		}
	}
	return at, nil
}

// MoveTo implements [hal.PTZ].
func (p ptz) MoveTo(at hal.Position) error { return p.tell("move " + three(at)) }

// Drive implements [hal.PTZ].
func (p ptz) Drive(v hal.Position, d time.Duration) error {
	return p.tell(fmt.Sprintf("drive %s %d", three(v), millis(d)))
}

// Presets implements [hal.PTZ].
func (p ptz) Presets() ([]string, error) {
	answer, err := p.ask("presets")
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(strings.Split(string(answer), "\n"), func(n string) bool { return n == "" })
	slices.Sort(list)
	return list, nil
}

// SavePreset implements [hal.PTZ].
func (p ptz) SavePreset(name string) error { return p.tell("save " + name) }

// GoToPreset implements [hal.PTZ].
func (p ptz) GoToPreset(name string) error { return p.tell("goto " + name) }

// DeletePreset implements [hal.PTZ].
func (p ptz) DeletePreset(name string) error { return p.tell("delete " + name) }

func (p ptz) tell(text string) error { _, err := p.ask(text); return err }

func (p ptz) ask(text string) ([]byte, error) {
	return p.b.do(context.Background(), "ptz %s", text)
}

// three writes a position as plain decimals, which every sscanf reads.
func three(p hal.Position) string {
	var f [3]string
	for i, v := range []float64{p.Pan, p.Tilt, p.Zoom} {
		f[i] = strconv.FormatFloat(v, 'f', 4, 64)
	}
	return strings.Join(f[:], " ")
}
