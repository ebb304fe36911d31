package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The boards by name.
const (
	BoardSim     = "sim"
	BoardPipe    = "pipe"
	BoardV4L2    = "v4l2"
	BoardOnboard = "onboard"
)

// Boards lists the boards that can be named.
func Boards() []string { return []string{BoardSim, BoardPipe, BoardV4L2, BoardOnboard} }

// None is what is written where empty means a default.
const None = "-"

// Sim configures the simulated board.
type Sim struct {
	Title    string `mapstructure:"title" help:"text in the simulated picture"`
	Scenario string `mapstructure:"scenario" help:"YAML file of what happens before the simulated camera; none if empty"`
	Control  string `mapstructure:"control" help:"socket of camagent sim; sim.sock in the state folder if empty, - for none"`
	Display  string `mapstructure:"display" help:"PNG file of what the simulated display shows; none if empty"`
}

// SimControl is the path of the control socket, "" for none.
func (c *Config) SimControl() string {
	switch {
	case c.Board != BoardSim || c.Sim.Control == None:
		return ""
	case c.Sim.Control == "":
		return filepath.Join(c.StateDir, "sim.sock")
	}
	return c.Sim.Control
}

// Pipe configures the board that reads H.264 from commands or FIFOs, or from one
// sidecar that speaks the framed protocol.
type Pipe struct {
	Sources []PipeSource `mapstructure:"sources"`
	Sidecar []string     `mapstructure:"sidecar" help:"program and arguments of a sidecar, instead of sources"`
}

// PipeSource is one stream: exactly one of Command and Path is set.
type PipeSource struct {
	Stream       string        `mapstructure:"stream"`
	Command      []string      `mapstructure:"command"`
	Path         string        `mapstructure:"path"`
	Width        int           `mapstructure:"width"`
	Height       int           `mapstructure:"height"`
	FPS          int           `mapstructure:"fps"`
	GOP          int           `mapstructure:"gop"`
	Bitrate      int           `mapstructure:"bitrate"`
	FPSRange     Range         `mapstructure:"fps_range"`
	GOPRange     Range         `mapstructure:"gop_range"`
	BitrateRange Range         `mapstructure:"bitrate_range"`
	EarlyCut     time.Duration `mapstructure:"early_cut"`
}

// Range is what the owner may choose; both ends are allowed.
type Range struct {
	Min int `mapstructure:"min"`
	Max int `mapstructure:"max"`
}

// V4L2 configures the board that captures H.264 from video devices.
type V4L2 struct {
	Sources []V4L2Source `mapstructure:"sources"`
	Still   string       `mapstructure:"still" help:"video device that gives JPEG or YUYV, for snapshots and motion; none if empty"`
}

// V4L2Source is one stream; zero numbers are as the device likes.
type V4L2Source struct {
	Stream  string `mapstructure:"stream"`
	Device  string `mapstructure:"device"` // a path, or usb:VENDOR:PRODUCT[:SERIAL]
	Width   int    `mapstructure:"width"`
	Height  int    `mapstructure:"height"`
	FPS     int    `mapstructure:"fps"`
	GOP     int    `mapstructure:"gop"`
	Bitrate int    `mapstructure:"bitrate"` // bits per second
}

// Onboard configures the board that takes streams from another streamer on the
// same camera.
type Onboard struct {
	Sources  []OnboardSource `mapstructure:"sources"`
	Snapshot string          `mapstructure:"snapshot" help:"http address of a JPEG of the present picture; none if empty"`
	Sound    string          `mapstructure:"sound" help:"stream whose sound is the microphone; none if empty"`
}

// OnboardSource is one stream.
type OnboardSource struct {
	Stream       string `mapstructure:"stream"`
	URL          string `mapstructure:"url"`
	User         string `mapstructure:"user"`
	PasswordFile string `mapstructure:"password_file"`
}

// Sound names the ALSA devices of any board; empty: none.
type Sound struct {
	Microphone string `mapstructure:"microphone" help:"ALSA capture device such as hw:0,0; none if empty"`
	Speaker    string `mapstructure:"speaker" help:"ALSA playback device such as hw:0,0; none if empty"`
}

// checkBoard looks at the section of the board that is named; those of others
// do nothing.
func (c *Config) checkBoard(k *Checks) {
	k.OneOf("board", c.Board, Boards()...)
	switch c.Board {
	case BoardSim:
		c.Sim.check(k)
	case BoardPipe:
		c.Pipe.check(k)
	case BoardV4L2:
		c.V4L2.check(k)
	case BoardOnboard:
		c.Onboard.check(k)
	}
	for key, d := range map[string]string{"sound.microphone": c.Sound.Microphone, "sound.speaker": c.Sound.Speaker} {
		k.Want(len(d) <= 64, key, d, "an ALSA device such as hw:0,0")
	}
	k.Want(c.Board != BoardOnboard || c.Onboard.Sound == "" || c.Sound.Microphone == "", "sound.microphone", c.Sound.Microphone,
		"no device, as onboard.sound is set")
}

func (s *Sim) check(k *Checks) {
	k.Want(len(s.Title) <= 40, "sim.title", s.Title, "at most 40 characters")
	k.pathOrNone("sim.scenario", s.Scenario)
	k.pathOrNone("sim.display", s.Display)
	k.Want(s.Control == None || s.Control == "" || filepath.IsAbs(s.Control), "sim.control", s.Control, "an absolute path, or - for none")
}

// pathOrNone wants an absolute path, or nothing.
func (c *Checks) pathOrNone(key, have string) {
	c.Want(have == "" || filepath.IsAbs(have), key, have, "an absolute path")
}

// device wants a video device: its path, or its numbers on the bus.
func (c *Checks) device(key, have string) {
	c.Want(filepath.IsAbs(have) || usbDevice.MatchString(have), key, have, "a device such as /dev/video0 or usb:046d:082d")
}

var usbDevice = regexp.MustCompile(`^usb:[0-9a-fA-F]{4}:[0-9a-fA-F]{4}(:.+)?$`) // a serial may follow

// streams wants each stream once, and main among them.
func (c *Checks) streams(section string, names []string) {
	for i, s := range names {
		key := fmt.Sprintf("%s.sources[%d].stream", section, i)
		c.OneOf(key, s, "main", "sub")
		c.Want(!slices.Contains(names[:i], s), key, s, "each stream once")
	}
	c.Want(slices.Contains(names, "main"), section+".sources", names, "a source for the stream main, as board is "+section)
}

// video wants numbers that an encoder could take; zeros are as it likes.
func (c *Checks) video(key string, width, height, fps, gop, bitrate int) {
	c.Between(key+"width", width, 0, 8192)
	c.Between(key+"height", height, 0, 8192)
	c.Want((width == 0) == (height == 0), key+"height", height, "width and height, or neither")
	c.Between(key+"fps", fps, 0, 120)
	c.Between(key+"gop", gop, 0, 1000)
	c.Want(bitrate == 0 || bitrate >= 16_000 && bitrate <= 100_000_000, key+"bitrate", bitrate, "0, or 16000 to 100000000 bits per second")
}

func (p *Pipe) check(k *Checks) {
	if len(p.Sidecar) > 0 {
		k.Want(len(p.Sources) == 0, "pipe.sidecar", p.Sidecar, "either sidecar or sources, not both")
		return
	}
	var names []string
	for i, s := range p.Sources {
		names = append(names, s.Stream)
		key := fmt.Sprintf("pipe.sources[%d].", i)
		k.Want((len(s.Command) > 0) != (s.Path != ""), key+"command", s.Command, "either command or path, not both")
		k.pathOrNone(key+"path", s.Path)
		k.video(key, s.Width, s.Height, s.FPS, s.GOP, s.Bitrate)
		for name, r := range map[string]Range{"fps_range": s.FPSRange, "gop_range": s.GOPRange, "bitrate_range": s.BitrateRange} {
			k.Want(r == (Range{}) || r.Min > 0 && r.Min <= r.Max, key+name, fmt.Sprintf("%d to %d", r.Min, r.Max), "min above 0, and max not below it")
		}
		k.Duration(key+"early_cut", s.EarlyCut, 0, 100*time.Millisecond)
	}
	k.streams(BoardPipe, names)
}

func (v *V4L2) check(k *Checks) {
	var names []string
	for i, s := range v.Sources {
		names = append(names, s.Stream)
		key := fmt.Sprintf("v4l2.sources[%d].", i)
		k.device(key+"device", s.Device)
		k.video(key, s.Width, s.Height, s.FPS, s.GOP, s.Bitrate)
		for j, other := range v.Sources[:i] {
			k.Want(other.Device != s.Device, key+"device", s.Device, fmt.Sprintf("another device than that of source %d", j))
		}
	}
	k.streams(BoardV4L2, names)
	if v.Still != "" {
		k.device("v4l2.still", v.Still)
	}
}

func (o *Onboard) check(k *Checks) {
	var names []string
	for i, s := range o.Sources {
		names = append(names, s.Stream)
		key := fmt.Sprintf("onboard.sources[%d].", i)
		k.address(key+"url", s.URL, "rtsp")
		k.pathOrNone(key+"password_file", s.PasswordFile)
		k.Want(s.PasswordFile == "" || s.User != "", key+"user", s.User, "a name, as password_file is set")
	}
	k.streams(BoardOnboard, names)
	k.Want(o.Sound == "" || slices.Contains(names, o.Sound), "onboard.sound", o.Sound, "the stream of a source, or nothing")
	if o.Snapshot != "" {
		k.address("onboard.snapshot", o.Snapshot, "http")
	}
}

// address wants scheme://host/…, without user and password, which must not be
// repeated in errors and logs. S8.
func (c *Checks) address(key, have, scheme string) {
	u, err := url.Parse(have)
	if strings.Contains(have, "@") {
		c.Want(false, key, "[redacted]", "an address without user and password: they have keys of their own")
		return
	}
	c.Want(err == nil && u.Scheme == scheme && u.Hostname() != "", key, have, "an address such as "+scheme+"://127.0.0.1/…")
}
