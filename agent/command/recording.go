package command

import (
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// Recording on command, whatever mode and schedule say.
var (
	RecordingStart = Definition[RecordFor, RecordingStatus]{Entry{
		"recording.start", cloud.Control, "", "record for a while, or until recording.stop; a restart of the camera ends it"}}
	RecordingStop = Definition[None, RecordingStatus]{Entry{
		"recording.stop", cloud.Control, "", "end what recording.start began; mode and events go on"}}
)

// RecordFor is how long.
type RecordFor struct {
	For int64 `json:"for_ms,omitempty"` // 0: until recording.stop
}

// MaxRecordFor is the longest recording on command that has an end.
const MaxRecordFor = 24 * time.Hour

// Validate bounds it.
func (r *RecordFor) Validate() error {
	if most := MaxRecordFor.Milliseconds(); r.For < 0 || r.For > most || r.For > 0 && r.For < 1000 {
		return fmt.Errorf("for_ms: is %d, want 1000 to %d, or 0 for no end", r.For, most)
	}
	return nil
}

// RecordingStatus tells what the recorder does, and why.
type RecordingStatus struct {
	Mode    string `json:"mode"`              // of the settings
	Active  bool   `json:"active"`            // a clip is open
	Clips   uint64 `json:"clips"`             // closed since boot
	Now     string `json:"now"`               // the mode in force: by the schedule it may be another one
	Trigger string `json:"trigger,omitempty"` // why it records: continuous, schedule, command, motion; empty: it does not
	Event   string `json:"event,omitempty"`   // id of the event that lasts
	Command bool   `json:"command,omitempty"` // recording.start is in force
	Left    int64  `json:"left_ms,omitempty"` // of it; 0: until recording.stop
}
