package sim

import (
	"fmt"
	"maps"
	"time"

	"iid2secure.nl/camagent/hal"
)

// State is what can be seen of a board from outside, at one instant.
type State struct {
	Since    float64                `json:"since"` // seconds since the board's start
	Scene    SceneState             `json:"scene"`
	DayNight hal.DayNightState      `json:"daynight"`
	IRFilter bool                   `json:"irfilter"` // in the path
	Lights   map[hal.LightKind]int  `json:"lights"`
	LEDs     map[string]hal.Pattern `json:"leds"`
	Siren    bool                   `json:"siren"`
	PTZ      hal.Position           `json:"ptz"`
	Image    map[string]int         `json:"image"`
	Overlay  []hal.Overlay          `json:"overlay"`
	Display  string                 `json:"display"` // size of the picture shown, "" without one
	Pressed  []string               `json:"pressed"`
	Streams  map[string]StreamState `json:"streams"` // those that are open
	Talking  bool                   `json:"talking"` // the speaker is open
	Faults   []string               `json:"faults"`  // by the names of their actions
	Card     string                 `json:"card"`    // "in", "pulled", what is wrong with it, or "" without one
	Slots    []hal.Slot             `json:"slots"`
}

// SceneState is what happens before the camera.
type SceneState struct {
	Light   int  `json:"light"` // 0 to 1000
	Motion  bool `json:"motion"`
	Covered bool `json:"covered"`
}

// StreamState is one open stream.
type StreamState struct {
	hal.VideoConfig
	Newest uint64 `json:"newest"` // number of the newest frame
}

// State tells what can be seen of the board now.
func (b *Board) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(b.start)
	s := State{
		Since: now.Round(time.Millisecond).Seconds(), Streams: b.openStreams(), Talking: b.speaker != nil,
		Scene: SceneState{
			Light: b.script.level(light, now, usualLight), Motion: b.movesLocked(now), Covered: b.script.active(cover, now),
		},
		DayNight: hal.DayNightState{Mode: b.dn.mode, Night: b.dn.now.night},
		IRFilter: b.dn.now.filter,
		Lights:   map[hal.LightKind]int{hal.Infrared: b.dn.now.infrared, hal.White: b.dn.now.white},
		LEDs:     maps.Clone(b.leds), Siren: b.siren, PTZ: b.head.at(now), Image: map[string]int{}, Card: b.cardState(),
		Overlay: []hal.Overlay{}, Pressed: []string{}, Faults: []string{}, Slots: []hal.Slot{},
	}
	for i, id := range controlIDs {
		s.Image[id] = b.controls[i]
	}
	for i, t := range b.texts {
		if t != "" {
			s.Overlay = append(s.Overlay, hal.Overlay{Corner: cornerNames[i], Text: t})
		}
	}
	for i, name := range buttons {
		if b.held(i, now) {
			s.Pressed = append(s.Pressed, name)
		}
	}
	for _, k := range faults {
		if k != clockStep && b.script.active(k, now) {
			s.Faults = append(s.Faults, actions[k].name)
		}
	}
	for _, slot := range b.slots {
		s.Slots = append(s.Slots, slot.Slot)
	}
	if b.shown != nil {
		s.Display = fmt.Sprintf("%dx%d", b.shown.Rect.Dx(), b.shown.Rect.Dy())
	}
	return s
}

func (b *Board) openStreams() map[string]StreamState {
	m := map[string]StreamState{}
	for name, v := range b.open {
		m[name] = StreamState{v.Config(), v.newest()}
	}
	return m
}

func (b *Board) cardState() string {
	switch {
	case b.card.dir == "":
		return ""
	case b.card.err != nil:
		return b.card.err.Error()
	case b.card.pulled:
		return "pulled"
	}
	return "in"
}
