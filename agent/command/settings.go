package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"iid2secure.nl/camagent/hal"
)

// The recording modes.
const (
	RecordContinuous = "continuous"
	RecordOff        = "off"
)

// Settings are what the owner can change; the device keeps them.
type Settings struct {
	Streams    map[string]StreamSettings `json:"streams"`
	Recording  string                    `json:"recording"`  // RecordContinuous, RecordOff
	Microphone bool                      `json:"microphone"` // sound in streams and clips; off until the owner turns it on
}

// Clone copies s.
func (s Settings) Clone() Settings {
	s.Streams = maps.Clone(s.Streams)
	return s
}

// StreamSettings are those of one encoder.
type StreamSettings struct {
	Bitrate int `json:"bitrate"` // bits per second
	FPS     int `json:"fps"`
	GOP     int `json:"gop"` // frames
}

// SettingsPatch changes what is not nil.
type SettingsPatch struct {
	Streams    map[string]StreamPatch `json:"streams,omitempty"`
	Recording  *string                `json:"recording,omitempty"`
	Microphone *bool                  `json:"microphone,omitempty"`
}

// StreamPatch changes what is not nil.
type StreamPatch struct {
	Bitrate *int `json:"bitrate,omitempty"`
	FPS     *int `json:"fps,omitempty"`
	GOP     *int `json:"gop,omitempty"`
}

// Validate refuses an empty patch and unknown modes.
func (p *SettingsPatch) Validate() error {
	if len(p.Streams) == 0 && p.Recording == nil && p.Microphone == nil {
		return errors.New("nothing to set: want streams, recording or microphone")
	}
	if r := p.Recording; r != nil && *r != RecordContinuous && *r != RecordOff {
		return fmt.Errorf("recording: is %q, want %s or %s", clip(*r), RecordContinuous, RecordOff)
	}
	return nil
}

// Apply checks p against what the board's streams allow and returns the
// settings it leads to; every problem is named, and nothing is changed if
// there is one.
func (p *SettingsPatch) Apply(s Settings, board []hal.StreamInfo) (Settings, error) {
	s = s.Clone()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Streams)) {
		patch := p.Streams[name]
		i := slices.IndexFunc(board, func(b hal.StreamInfo) bool { return b.Name == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("streams.%s: the camera has no such stream", clip(name)))
			continue
		}
		st := s.Streams[name]
		errs = append(errs,
			set(&st.Bitrate, patch.Bitrate, board[i].Bitrate, name+".bitrate"),
			set(&st.FPS, patch.FPS, board[i].FPS, name+".fps"),
			set(&st.GOP, patch.GOP, board[i].GOP, name+".gop"))
		s.Streams[name] = st
	}
	if p.Recording != nil {
		s.Recording = *p.Recording
	}
	if p.Microphone != nil {
		s.Microphone = *p.Microphone
	}
	return s, errors.Join(errs...)
}

func set(dst *int, v *int, r hal.Range, path string) error {
	switch {
	case v == nil:
		return nil
	case r.Max == 0:
		return fmt.Errorf("streams.%s: this board can't change it", path)
	case *v < r.Min || *v > r.Max:
		return fmt.Errorf("streams.%s: is %d, want %d to %d", path, *v, r.Min, r.Max)
	}
	*dst = *v
	return nil
}
