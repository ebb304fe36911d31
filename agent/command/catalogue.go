package command

import (
	"errors"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"
)

// None is the argument or the reply of commands that have none.
type None struct{}

// The commands.
var (
	StatusGet = Definition[None, Status]{Entry{
		"status.get", "", "", "what the camera is, does, and suffers from"}}
	SettingsGet = Definition[None, Settings]{Entry{
		"settings.get", "", "", "the settings in force, as observed"}}
	SettingsSet = Definition[SettingsPatch, Settings]{Entry{
		"settings.set", cloud.Control, "", "change settings; the reply is what is in force afterwards"}}
	SnapshotTake = Definition[None, Snapshot]{Entry{
		"snapshot.take", cloud.Live, hal.CapSnapshot, "take a picture now; it is sealed and uploaded, or sent in the reply while the store is away"}}
	KeyframeRequest = Definition[StreamName, None]{Entry{
		"keyframe.request", cloud.Live, hal.CapKeyframe, "make a stream begin a new GOP"}}
	LiveGet = Definition[None, Live]{Entry{
		"live.get", cloud.Live, "", "addresses, credential and certificate of the live streams on the local network"}}
)

var table = []Entry{
	StatusGet.Entry, SettingsGet.Entry, SettingsSet.Entry, SnapshotTake.Entry,
	RecordingStart.Entry, RecordingStop.Entry, ClipsList.Entry, ClipsRead.Entry, ClipsUpload.Entry, KeyframeRequest.Entry, LiveGet.Entry,
}

// Status is what status.get tells.
type Status struct {
	Version      string               `json:"version"`
	Uptime       int64                `json:"uptime_ms"`
	Time         string               `json:"time"` // the camera's clock, RFC 3339
	Clock        cloud.Clock          `json:"clock"`
	Site         *SiteStatus          `json:"site,omitempty"` // where there are several
	Board        hal.Info             `json:"board"`
	Capabilities []hal.Capability     `json:"capabilities"`
	Streams      []StreamStatus       `json:"streams"`
	Live         LiveStatus           `json:"live"`
	Recording    RecordingStatus      `json:"recording"`
	Microphone   bool                 `json:"microphone"` // open
	Card         CardStatus           `json:"card"`
	Upload       UploadStatus         `json:"upload"`
	Chains       map[string]ChainHead `json:"chains"` // by stream
	Conditions   []Condition          `json:"conditions"`
}

// StreamStatus is one stream as it runs.
type StreamStatus struct {
	Name            string          `json:"name"`
	Running         bool            `json:"running"`
	Config          hal.VideoConfig `json:"config"`
	hal.StreamStats                 // since the start of camagent
}

// LiveStatus tells what the live server does. It counts since it began to serve,
// which is when the camera was bound, or started.
type LiveStatus struct {
	Viewers      int    `json:"viewers"`       // that watch, or are about to
	Connections  int    `json:"connections"`   // viewers' own included
	Frames       uint64 `json:"frames"`        // sent, all viewers together
	Bytes        uint64 `json:"bytes"`         // sent
	Skips        uint64 `json:"skips"`         // times that a slow viewer was put forward to a key frame
	Timeouts     uint64 `json:"timeouts"`      // viewers dropped because their connection took nothing
	Refused      uint64 `json:"refused"`       // viewers and connections over the limit
	WrongAnswers uint64 `json:"wrong_answers"` // wrong users or passwords
	Blocked      uint64 `json:"blocked"`       // connections from addresses that had guessed too often
	Handshakes   uint64 `json:"handshakes"`    // of TLS that failed
	Malformed    uint64 `json:"malformed"`     // connections ended for what came over them
	// Talking is the name of the member who talks; Sessions are those who watch, the
	// longest first, MaxLiveSessions at most: admins are told of all, other members
	// of themselves.
	Talking  string        `json:"talking,omitempty"`
	Sessions []LiveSession `json:"sessions"`
}

// MaxLiveSessions is how many sessions a status lists.
const MaxLiveSessions = 32

// LiveSession is one viewer that watches.
type LiveSession struct {
	Member    string `json:"member"`  // name in the roster
	Address   string `json:"address"` // host:port
	Stream    string `json:"stream"`
	Transport string `json:"transport"` // tcp, tls, udp, multicast, srtp, srtp/tcp or srtp/multicast
	Since     string `json:"since"`     // RFC 3339
	Frames    uint64 `json:"frames"`    // sent to it
	Skips     uint64 `json:"skips"`     // times that it was too slow
}

// CardStatus tells how the card is used, in bytes.
type CardStatus struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
	Clips int   `json:"clips"`
}

// UploadStatus is the backlog.
type UploadStatus struct {
	Pending int    `json:"pending"`
	Bytes   int64  `json:"bytes"`
	Done    uint64 `json:"done"` // objects confirmed since boot
	UploadProgress
}

// ChainHead is the end of the manifest chain of a stream.
type ChainHead struct {
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"`
}

// Condition is something that is wrong now.
type Condition struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Since   string `json:"since"` // RFC 3339
}

// StreamName names one stream.
type StreamName struct {
	Stream string `json:"stream"`
}

// Validate refuses an empty name.
func (s *StreamName) Validate() error {
	if s.Stream == "" {
		return errors.New("stream: missing, want main or sub")
	}
	return nil
}

// Live is what a viewer on the local network needs. Addresses are without the
// credential; those of a door that is closed are left out.
type Live struct {
	User     string            `json:"user"`
	Password string            `json:"password"`
	URLs     map[string]string `json:"urls,omitempty"`     // rtsp, by stream
	TLSURLs  map[string]string `json:"tls_urls,omitempty"` // rtsps, by stream
	// Snapshot and TLSSnapshot give a JPEG over HTTP and HTTPS; empty: none.
	Snapshot    string `json:"snapshot,omitempty"`
	TLSSnapshot string `json:"tls_snapshot,omitempty"`
	// Certificate (PEM) is the authority by which to know the camera on the TLS
	// addresses, and Fingerprint its SHA-256 in hex.
	Certificate string `json:"certificate,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Talk        bool   `json:"talk"`      // this member may talk, and the camera has a speaker
	Multicast   bool   `json:"multicast"` // may be chosen
}

// Snapshot names a sealed picture in the store, or carries it.
type Snapshot struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`             // of the sealed object
	SHA256 string `json:"sha256"`           // of the sealed object, hex
	Stored bool   `json:"stored"`           // confirmed by the store
	Sealed []byte `json:"sealed,omitempty"` // the object itself, if it is not stored
}
