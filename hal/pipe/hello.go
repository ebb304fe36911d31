package pipe

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"iid2secure.nl/camagent/hal"
)

// hello is what a sidecar says first: what it is, and what it can do. Unknown
// members are ignored, so that the protocol can grow.
type hello struct {
	Protocol    int              `json:"protocol"`
	Model       string           `json:"model"`
	Streams     []hal.StreamInfo `json:"streams"`
	Keyframe    bool             `json:"keyframe"`
	Tune        bool             `json:"tune"`
	Image       []hal.Control    `json:"image"`
	IRFilter    bool             `json:"irfilter"`
	Lights      []hal.LightKind  `json:"lights"`
	LightSensor bool             `json:"lightsensor"`
	Snapshot    bool             `json:"snapshot"`
	Motion      *motionAbility   `json:"motion"`
	Microphone  *soundFormat     `json:"microphone"`
	Speaker     []soundFormat    `json:"speaker"`
	PTZ         *axes            `json:"ptz"`
	Buttons     []string         `json:"buttons"`
	LEDs        []string         `json:"leds"`
	Siren       bool             `json:"siren"`
	Sensors     bool             `json:"sensors"`
}

type motionAbility struct {
	Zones bool `json:"zones"`
}

type axes struct {
	Pan  bool `json:"pan"`
	Tilt bool `json:"tilt"`
	Zoom bool `json:"zoom"`
}

// soundFormat is hal.AudioFormat with its Config in hexadecimal.
type soundFormat struct {
	Codec    hal.Codec `json:"codec"`
	Rate     int       `json:"rate"`
	Channels int       `json:"channels"`
	Config   string    `json:"config"`
}

// format converts it; check has been there.
func (f soundFormat) format() hal.AudioFormat {
	config, _ := hex.DecodeString(f.Config)
	if len(config) == 0 {
		config = nil
	}
	return hal.AudioFormat{Codec: f.Codec, Rate: f.Rate, Channels: f.Channels, Config: config}
}

// parseHello reads and checks a hello.
func parseHello(body []byte) (hello, error) {
	var version struct {
		Protocol int `json:"protocol"`
	}
	if len(body) > maxHello {
		return hello{}, broken("hello of %d bytes, want at most %d", len(body), maxHello)
	}
	if err := json.Unmarshal(body, &version); err != nil {
		return hello{}, broken("hello: %w", err)
	}
	if version.Protocol > protocol {
		return hello{}, fmt.Errorf("it speaks version %d of the sidecar protocol, this camagent knows %d: update camagent, or let the sidecar speak the version in SIDECAR_PROTOCOL",
			version.Protocol, protocol)
	}
	if version.Protocol < 1 {
		return hello{}, broken("hello: protocol is %d, want %d", version.Protocol, protocol)
	}
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return hello{}, broken("hello: %w", err)
	}
	if err := h.check(); err != nil {
		return hello{}, broken("hello: %w", err)
	}
	for i := range h.Streams {
		h.Streams[i].Reopens = true // start begins with a key frame
	}
	return h, nil
}

func (h *hello) check() error {
	if len(h.Model) > 64 || strings.ContainsFunc(h.Model, unicode.IsControl) {
		return fmt.Errorf("model is %q, want at most 64 bytes of one line", h.Model)
	}
	errs := []error{h.checkStreams(), names("buttons", h.Buttons), names("leds", h.LEDs)}
	for _, l := range h.Lights {
		if l != hal.Infrared && l != hal.White {
			errs = append(errs, fmt.Errorf("lights: %q, want %q or %q", l, hal.Infrared, hal.White))
		}
	}
	var ids []string
	for _, k := range h.Image {
		ids = append(ids, k.ID)
		if k.Min > k.Max || k.Value < k.Min || k.Value > k.Max || k.Default < k.Min || k.Default > k.Max {
			errs = append(errs, fmt.Errorf("image %q: value %d and default %d, want them within min %d to max %d", k.ID, k.Value, k.Default, k.Min, k.Max))
		}
	}
	errs = append(errs, names("image", ids))
	for _, f := range h.Speaker {
		errs = append(errs, f.check("speaker"))
	}
	if h.Microphone != nil {
		errs = append(errs, h.Microphone.check("microphone"))
	}
	for _, err := range errs { // one is enough, and fits on a line
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *hello) checkStreams() error {
	var have []string
	for _, s := range h.Streams {
		have = append(have, s.Name)
		for _, r := range []struct {
			what  string
			value int
			bound hal.Range
		}{{"fps", s.Default.FPS, s.FPS}, {"gop", s.Default.GOP, s.GOP}, {"bitrate", s.Default.Bitrate, s.Bitrate}} {
			if r.bound != (hal.Range{}) && (r.bound.Min < 1 || r.value < r.bound.Min || r.value > r.bound.Max) {
				return fmt.Errorf("stream %q: default %s is %d, want it within its range of %d to %d", s.Name, r.what, r.value, r.bound.Min, r.bound.Max)
			}
		}
	}
	if !slices.Equal(have, []string{"main"}) && !slices.Equal(have, []string{"main", "sub"}) {
		return fmt.Errorf("streams %q, want main, or main and sub", have)
	}
	return nil
}

// word is how a thing may be called, so that it is one word of a command.
var word = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func names(what string, list []string) error {
	for i, n := range list {
		if !word.MatchString(n) {
			return fmt.Errorf("%s: the name %q, want 1 to 32 of a-z, 0-9, - and _", what, n)
		}
		if slices.Contains(list[:i], n) {
			return fmt.Errorf("%s: %q twice", what, n)
		}
	}
	if len(list) > 64 {
		return fmt.Errorf("%d %s, want at most 64", len(list), what)
	}
	return nil
}

func (f *soundFormat) check(what string) error {
	config, err := hex.DecodeString(f.Config)
	switch {
	case !slices.Contains([]hal.Codec{hal.PCMU, hal.PCMA, hal.L16, hal.AAC, hal.Opus}, f.Codec):
		return fmt.Errorf("%s: codec %q, want pcmu, pcma, l16, aac or opus", what, f.Codec)
	case f.Rate < 8000 || f.Rate > 192_000:
		return fmt.Errorf("%s: rate is %d, want 8000 to 192000", what, f.Rate)
	case f.Channels < 1 || f.Channels > 2:
		return fmt.Errorf("%s: channels is %d, want 1 or 2", what, f.Channels)
	case err != nil || f.Codec == hal.AAC && len(config) < 2:
		return fmt.Errorf("%s: config is %q, want the AudioSpecificConfig in hexadecimal for aac, else nothing", what, f.Config)
	}
	return nil
}

// same tells whether a sidecar that was started anew is still the same camera.
func (h hello) same(now hello) error {
	h.Image, now.Image = still(h.Image), still(now.Image)
	if !reflect.DeepEqual(h.Streams, now.Streams) {
		return fmt.Errorf("its streams are %+v now, were %+v: restart camagent", now.Streams, h.Streams)
	}
	if !reflect.DeepEqual(h, now) {
		return errors.New("its hello names other abilities than before: restart camagent")
	}
	return nil
}

// still leaves out what changes by itself.
func still(list []hal.Control) []hal.Control {
	list = slices.Clone(list)
	for i := range list {
		list[i].Value = 0
	}
	return list
}
