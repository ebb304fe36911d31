package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"iid2secure.nl/camagent/hal"
)

// The recording modes.
const (
	RecordContinuous = "continuous"
	RecordEvents     = "events"
	RecordOff        = "off"
)

// Settings are what the owner can change; the device keeps them.
type Settings struct {
	Streams    map[string]StreamSettings `json:"streams"`
	Recording  string                    `json:"recording"`  // RecordContinuous, RecordEvents, RecordOff
	Schedule   Schedule                  `json:"schedule"`   // when that holds
	Microphone bool                      `json:"microphone"` // sound in streams and clips; off until the owner turns it on
}

// Clone copies s.
func (s Settings) Clone() Settings {
	s.Streams = maps.Clone(s.Streams)
	s.Schedule.Windows = slices.Clone(s.Schedule.Windows)
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
	Schedule   *SchedulePatch         `json:"schedule,omitempty"`
	Microphone *bool                  `json:"microphone,omitempty"`
}

// SchedulePatch changes what is not nil.
type SchedulePatch struct {
	Windows *[]Window `json:"windows,omitempty"` // all of them
	Zone    *string   `json:"zone,omitempty"`
	Outside *string   `json:"outside,omitempty"`
}

// StreamPatch changes what is not nil.
type StreamPatch struct {
	Bitrate *int `json:"bitrate,omitempty"`
	FPS     *int `json:"fps,omitempty"`
	GOP     *int `json:"gop,omitempty"`
}

// RecordModes are the recording modes, and OutsideModes those outside of a schedule.
var (
	RecordModes  = []string{RecordContinuous, RecordEvents, RecordOff}
	OutsideModes = []string{RecordEvents, RecordOff}
)

// Validate refuses an empty patch and unknown modes.
func (p *SettingsPatch) Validate() error {
	if len(p.Streams) == 0 && p.Recording == nil && p.Schedule == nil && p.Microphone == nil {
		return errors.New("nothing to set: want streams, recording, schedule or microphone")
	}
	if r := p.Recording; r != nil && !slices.Contains(RecordModes, *r) {
		return fmt.Errorf("recording: is %q, want %s", clip(*r), Among(RecordModes))
	}
	if p.Schedule != nil {
		return p.Schedule.validate()
	}
	return nil
}

func (p *SchedulePatch) validate() error {
	if p.Windows == nil && p.Zone == nil && p.Outside == nil {
		return errors.New("schedule: nothing to set: want windows, zone or outside")
	}
	if o := p.Outside; o != nil && !slices.Contains(OutsideModes, *o) {
		return fmt.Errorf("schedule.outside: is %q, want %s", clip(*o), Among(OutsideModes))
	}
	if p.Windows != nil {
		return CheckWindows(*p.Windows)
	}
	return nil
}

// Among writes what is allowed: a, b or c.
func Among(words []string) string {
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
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
	errs = append(errs, p.Schedule.apply(&s.Schedule))
	if p.Microphone != nil {
		s.Microphone = *p.Microphone
	}
	return s, errors.Join(errs...)
}

// apply may be called on nil. The zone is one that the camera's system knows.
func (p *SchedulePatch) apply(s *Schedule) error {
	if p == nil {
		return nil
	}
	if p.Windows != nil {
		s.Windows = slices.Clone(*p.Windows)
	}
	if p.Outside != nil {
		s.Outside = *p.Outside
	}
	if p.Zone == nil {
		return nil
	}
	s.Zone = *p.Zone
	return CheckZone(s.Zone)
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
