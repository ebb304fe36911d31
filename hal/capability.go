package hal

import (
	"context"
	"fmt"
	"image"
	"io"
	"io/fs"
	"time"
)

// The optional interfaces, each one capability. A board implements those that
// its hardware honours, a part the one or two that it is for; nobody implements
// one to answer "not supported". Their errors: ErrGone and its siblings for a
// device that failed; arguments were checked by Camera.

// KeyframeRequester makes a running stream begin a new GOP within 5 frames.
type KeyframeRequester interface {
	// RequestKeyframe is for an open stream only.
	RequestKeyframe(stream string) error
}

// EncoderTuner changes a running stream; zero fields of the patch stay as they
// are. It returns what the device does afterwards; frames stay in order.
type EncoderTuner interface {
	// Tune is for an open stream only.
	Tune(stream string, patch VideoConfig) (VideoConfig, error)
}

// Control is one number of the picture's processing. IDs that several boards
// have are: brightness, contrast, saturation, sharpness, exposure, wdr, and, with
// range 0 to 1, mirror, flip, grayscale; antiflicker is 0, 50 or 60.
type Control struct {
	ID string `json:"id"`
	Range
	Default int `json:"default"`
	Value   int `json:"value"`
}

// ImageTuner sets how the sensor's picture is processed.
type ImageTuner interface {
	// ImageControls lists them with their present values.
	ImageControls() []Control
	// SetImageControl returns the value that is now in force.
	SetImageControl(id string, value int) (int, error)
}

// Corner is where a text stands in the picture.
type Corner string

// The corners.
const (
	TopLeft     Corner = "top-left"
	TopRight    Corner = "top-right"
	BottomLeft  Corner = "bottom-left"
	BottomRight Corner = "bottom-right"
)

// Overlay is one line of text in the picture.
type Overlay struct {
	Corner Corner `json:"corner"`
	Text   string `json:"text"` // 1 to 64 printable ASCII characters
}

// Overlayer writes text into the picture of all streams.
type Overlayer interface {
	// SetOverlay replaces all texts, at most one a corner; none removes them.
	SetOverlay(texts []Overlay) error
}

// DayNightMode says how a camera sees.
type DayNightMode string

// The modes.
const (
	Auto  DayNightMode = "auto"
	Day   DayNightMode = "day"
	Night DayNightMode = "night"
)

// DayNightState is the wish and what came of it.
type DayNightState struct {
	Mode  DayNightMode `json:"mode"`
	Night bool         `json:"night"`
}

// DayNight switches filter, light and colour together.
type DayNight interface {
	SetDayNight(mode DayNightMode) error
	DayNight() (DayNightState, error)
}

// IRFilter moves the infrared filter before the sensor.
type IRFilter interface {
	// SetIRFilter: true puts it in the path (day).
	SetIRFilter(inPath bool) error
}

// LightKind names a lamp.
type LightKind string

// The lamps.
const (
	Infrared LightKind = "infrared"
	White    LightKind = "white"
)

// Lights are lamps that light the scene.
type Lights interface {
	Lights() []LightKind
	// SetLight takes 0 to 100 percent and returns what is in force: a lamp that
	// only switches makes 100 of everything above 0.
	SetLight(kind LightKind, percent int) (int, error)
}

// LightSensor measures how bright the scene is.
type LightSensor interface {
	// Light returns 0 (dark) to 1000 (as bright as it can tell).
	Light(ctx context.Context) (int, error)
}

// Snapshotter takes a still picture.
type Snapshotter interface {
	// Snapshot returns one JPEG of the present scene.
	Snapshot(ctx context.Context) ([]byte, error)
}

// Grabber gives raw pictures, beside the encoded streams. Camera makes
// snapshots and motion detection of them if the board has none.
type Grabber interface {
	// Grab returns the present scene, BT.601 full range; the caller owns it.
	Grab(ctx context.Context) (*image.YCbCr, error)
}

// Zone is a part of the picture, in thousandths of its width and height.
type Zone struct {
	X      int `json:"x"`
	Y      int `json:"y"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

// MotionConfig says what counts as motion.
type MotionConfig struct {
	Sensitivity int    `json:"sensitivity"`     // 1 (a lorry) to 100 (a moth)
	Zones       []Zone `json:"zones,omitempty"` // where to look; none: everywhere
}

// MotionEvent tells that motion began or ended.
type MotionEvent struct {
	Time   time.Time
	Active bool
}

// MotionDetector tells when something moves.
type MotionDetector interface {
	// MotionZones tells whether it can look at zones alone.
	MotionZones() bool
	// SetMotion changes what counts; before it is called sensitivity is 50.
	SetMotion(MotionConfig) error
	// NextMotion blocks for the next begin or end. One reader; errors as
	// VideoStream.Next.
	NextMotion(ctx context.Context) (MotionEvent, error)
}

// Position is where a camera looks, or how fast it turns: pan and tilt -1 to 1,
// right and up positive, zoom 0 to 1 (the generic spaces of ONVIF PTZ, 5.7.1).
type Position struct {
	Pan  float64 `json:"pan"`
	Tilt float64 `json:"tilt"`
	Zoom float64 `json:"zoom"`
}

// PTZ turns the camera.
type PTZ interface {
	// Axes tells which of pan, tilt and zoom move; the others stay 0.
	Axes() (pan, tilt, zoom bool)
	// Position is where it looks now.
	Position() (Position, error)
	// MoveTo starts a move to p, and returns.
	MoveTo(p Position) error
	// Drive turns at speed v (zoom -1 to 1 too), and stops by itself after for:
	// a lost stop command runs no motor into its end. Zero speed stops at once.
	Drive(v Position, d time.Duration) error
	// Presets lists the names of kept positions, sorted.
	Presets() ([]string, error)
	// SavePreset keeps the present position under name, replacing an older one.
	SavePreset(name string) error
	// GoToPreset starts the move; ErrNotFound if there is no such name.
	GoToPreset(name string) error
	// DeletePreset forgets it; ErrNotFound if there is no such name.
	DeletePreset(name string) error
}

// ButtonEvent is a press or a release. A board debounces.
type ButtonEvent struct {
	Button  string // "reset", "doorbell", …
	Pressed bool
	Time    time.Time
}

// Buttons are what people press on the camera.
type Buttons interface {
	Buttons() []string
	// NextButton blocks for the next event. One reader; errors as VideoStream.Next.
	NextButton(ctx context.Context) (ButtonEvent, error)
}

// Pattern is how an LED shines: On and Off in turns; without Off steadily,
// without On not at all.
type Pattern struct {
	On  time.Duration
	Off time.Duration
}

// LEDs are the camera's indicators.
type LEDs interface {
	LEDs() []string
	SetLED(name string, p Pattern) error
}

// Siren makes noise.
type Siren interface {
	SetSiren(on bool) error
	Siren() (bool, error)
}

// Display shows the QR by which an owner binds the camera.
type Display interface {
	// Show shows a picture, scaled by whole pixels; nil clears the display.
	Show(picture image.Image) error
}

// Reading is one measured number.
type Reading struct {
	Name  string  `json:"name"` // "soc", "supply", …
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // "°C", "V", "%", "lx"
}

// Sensors measure the camera itself.
type Sensors interface {
	Readings(ctx context.Context) ([]Reading, error)
}

// IdentityStore holds the device's identity as its factory wrote it, on boards
// that keep it elsewhere than in the state folder.
type IdentityStore interface {
	// Identity returns the files that camctl factory provision made; an empty
	// file system before that.
	Identity() (fs.FS, error)
}

// Slot is one place for firmware.
type Slot struct {
	Name      string `json:"name"`
	Size      int64  `json:"size"`      // bytes it can hold
	Active    bool   `json:"active"`    // runs now
	Next      bool   `json:"next"`      // boots next time
	Confirmed bool   `json:"confirmed"` // needs no proof any more
}

// Firmware is a camera with two or more slots for its firmware.
type Firmware interface {
	Slots() ([]Slot, error)
	// WriteSlot fills a slot that is not active with the image of r.
	WriteSlot(ctx context.Context, slot string, r io.Reader) error
	// BootNext makes a written slot boot next time; unless confirmed then, the
	// boot after that takes the present one again.
	BootNext(slot string) error
	// Confirm tells that the running slot works.
	Confirm() error
}

// Capability is one thing that a camera can do.
type Capability struct {
	Name string `json:"name"`
	// By tells how if it is not the hardware itself but a fall-back of Camera:
	// "restart" (the stream is opened anew: key frame, tuning), "picture" (made of
	// raw pictures: snapshot, motion), "frame sizes" (of the encoded stream: motion,
	// without zones), "filter and light" (day and night, of the infrared filter, the
	// infrared lamp, the light sensor and the grayscale control, those that there are).
	By string `json:"by,omitempty"`
}

// String is the name, and how it is done if not by the hardware.
func (c Capability) String() string {
	if c.By == "" {
		return c.Name
	}
	return c.Name + " (by " + c.By + ")"
}

// The capabilities by name, in the order in which they are told.
const (
	CapKeyframe    = "keyframe"
	CapTune        = "tune"
	CapImage       = "image"
	CapOverlay     = "overlay"
	CapDayNight    = "daynight"
	CapIRFilter    = "irfilter"
	CapLights      = "lights"
	CapLightSensor = "lightsensor"
	CapSnapshot    = "snapshot"
	CapMotion      = "motion"
	CapMicrophone  = "microphone"
	CapSpeaker     = "speaker"
	CapPTZ         = "ptz"
	CapButtons     = "buttons"
	CapLEDs        = "leds"
	CapSiren       = "siren"
	CapDisplay     = "display"
	CapSensors     = "sensors"
	CapIdentity    = "identity"
	CapFirmware    = "firmware"
)

// unable refuses by name what a camera lacks.
func unable(capability string) error { return fmt.Errorf("%w %s", ErrUnable, capability) }
