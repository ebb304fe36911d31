package agent

import (
	"fmt"
	"path/filepath"
	"sync"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/hal"
)

// settingsFile keeps the owner's settings in the state folder, per binding: a
// new owner begins with the defaults.
type settingsFile struct {
	path     string
	defaults command.Settings

	mu     sync.Mutex
	bindID string
	now    command.Settings
}

// storedSettings is the file's form.
type storedSettings struct {
	BindID   string           `json:"bind_id"`
	Settings command.Settings `json:"settings"`
}

// defaultSettings are those of a camera just bound: it records, and does not listen. P2.
func defaultSettings(streams []hal.StreamInfo) command.Settings {
	s := command.Settings{Streams: map[string]command.StreamSettings{}, Recording: command.RecordContinuous}
	for _, st := range streams {
		s.Streams[st.Name] = command.StreamSettings{Bitrate: st.Default.Bitrate, FPS: st.Default.FPS, GOP: st.Default.GOP}
	}
	return s
}

// openSettings reads the settings of the binding bindID; those of another are not used.
func openSettings(dir, bindID string, defaults command.Settings) (*settingsFile, error) {
	f := &settingsFile{path: filepath.Join(dir, "settings.json"), defaults: defaults, bindID: bindID, now: defaults.Clone()}
	var stored storedSettings
	found, err := durable.ReadJSON(f.path, &stored)
	if err != nil {
		return nil, fmt.Errorf("settings: %w; without the file the camera begins with its defaults", err)
	}
	if found && stored.BindID == bindID {
		f.now = merge(defaults, stored.Settings)
	}
	return f, nil
}

// merge keeps only streams that the board has.
func merge(defaults, stored command.Settings) command.Settings {
	out := defaults.Clone()
	out.Recording, out.Schedule, out.Microphone = stored.Recording, stored.Schedule, stored.Microphone
	for name, s := range stored.Streams {
		if _, ok := out.Streams[name]; ok {
			out.Streams[name] = s
		}
	}
	return out
}

func (f *settingsFile) get() command.Settings {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now.Clone()
}

// put makes s durable, then current.
func (f *settingsFile) put(s command.Settings) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := durable.WriteJSON(f.path, storedSettings{BindID: f.bindID, Settings: s}); err != nil {
		return err
	}
	f.now = s.Clone()
	return nil
}

// rebind begins with the defaults for a new binding.
func (f *settingsFile) rebind(bindID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bindID != bindID {
		f.bindID, f.now = bindID, f.defaults.Clone()
	}
}
