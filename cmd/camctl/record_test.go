package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent/command"
)

func TestM3_M14_RecordFor(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"start": 0, "stop": 0, "10s": 10 * time.Second, "24h": 24 * time.Hour} {
		got, err := recordFor(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, (&command.RecordFor{For: got.Milliseconds()}).Validate())
	}
}

func TestM3_StatusTellsWhatIsRecordedAndWhy(t *testing.T) {
	t.Parallel()
	for want, st := range map[string]command.RecordingStatus{
		"on (continuous), mode continuous":                          {Mode: "continuous", Now: "continuous", Trigger: "continuous"},
		"off, mode off":                                             {Mode: "off", Now: "off"},
		"off, mode continuous, by the schedule off":                 {Mode: "continuous", Now: "off"},
		"waits for events, mode events":                             {Mode: "events", Now: "events"},
		"waits for events, mode continuous, by the schedule events": {Mode: "continuous", Now: "events"},
		"event x (motion), mode events":                             {Mode: "events", Now: "events", Trigger: "motion", Event: "x"},
		"on (command), on command for another 9s, mode off":         {Mode: "off", Now: "off", Trigger: "command", Command: true, Left: 9100},
		"event x (motion), on command until stop, mode continuous":  {Mode: "continuous", Now: "continuous", Trigger: "motion", Event: "x", Command: true},
	} {
		require.Equal(t, want, recordingText(st))
	}
}
