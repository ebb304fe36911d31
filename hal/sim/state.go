package sim

import (
	"image"
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
	Card     string                 `json:"card"`    // "in", "pulled", "" without one
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
	Frames uint64 `json:"frames"`
}

// State tells what can be seen of the board now.
func (b *Board) State() State { return State{} }

// Heard is one piece of sound that the speaker played, from Time on.
type Heard struct {
	Format hal.AudioFormat
	Data   []byte
	Time   time.Time
}

// Heard returns what the speaker played until now, oldest first; of very much
// only the newest half minute or so is kept.
func (b *Board) Heard() []Heard { return nil }

// Shown is what the display shows, in its own size, or nil.
func (b *Board) Shown() image.Image { return nil }
