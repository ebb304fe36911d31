// Package onboard takes video and sound by RTSP from the streamer that is
// already on the camera (majestic, prudynt, divinus, any other), at 127.0.0.1:
// it brings a vendor's camera in without the vendor's SDK. docs/onboard.md says
// how each streamer is configured.
//
// A board's settings are the streamer's: nothing here tunes its encoder. Video
// is H.264; what else a stream holds is refused by its name. Sound is taken as
// the streamer gives it, by a session of its own.
//
// All of gortsplib's client stands behind session.go, with the guards that it
// needs; nothing of it shows in the exported names.
package onboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/hal"
)

// Source is one stream of the streamer.
type Source struct {
	Stream string // "main" or "sub"
	// URL is rtsp://host[:port]/path, without user and password.
	URL string
	// User and Password, if the streamer asks for them. They are never part of an
	// error.
	User     string
	Password string
}

// Config makes a Board.
type Config struct {
	Sources []Source
	// Sound is the stream whose sound is the microphone; empty: there is none.
	Sound string
	// Snapshot is the URL of one JPEG, http://host[:port]/path, without user and
	// password; empty: there is none.
	Snapshot string
	// SnapshotUser and SnapshotPassword; without a user those of "main" are taken.
	SnapshotUser     string
	SnapshotPassword string
	// Timeout is how long the streamer may take to begin a stream or to give a
	// snapshot, and how long it may then send nothing before it counts as gone;
	// 0 means 4 s.
	Timeout time.Duration
}

const defaultTimeout = 4 * time.Second

// Board is the streamer's streams. Its methods may be called from any goroutine.
type Board struct {
	timeout time.Duration
	sources []source // main first
	parts   []any

	mu     sync.Mutex
	open   map[string]closer // by stream name, or soundPlace
	closed bool
}

type closer interface{ Close() error }

var (
	_ hal.Board = (*Board)(nil)
	_ hal.Parts = (*Board)(nil)
)

// New checks the configuration, all of it, and starts nothing: the streamer
// need not run yet.
func New(c Config) (*Board, error) {
	return nil, errors.New("not yet")
}

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{Board: "onboard", Model: "streamer by RTSP"} }

// Parts implements [hal.Parts]: a microphone and a snapshotter, as configured.
func (b *Board) Parts() []any { return slices.Clone(b.parts) }

// Streams implements [hal.Board]. The streamer's settings can't be changed from
// here, so the ranges are empty; it begins with a key frame for every client.
func (b *Board) Streams() []hal.StreamInfo {
	list := make([]hal.StreamInfo, len(b.sources))
	for i, s := range b.sources {
		list[i] = hal.StreamInfo{Name: s.stream, Reopens: true}
	}
	return list
}

// OpenVideo implements [hal.Board]: it connects and starts the stream, within
// Timeout. The wish is not looked at. It does not wait for a picture: Config is
// known at once if the streamer describes its stream, else with the first one.
func (b *Board) OpenVideo(ctx context.Context, name string, _ hal.VideoConfig) (hal.VideoStream, error) {
	return nil, fmt.Errorf("onboard board: %w: %q", hal.ErrNoStream, name)
}

// Close implements [hal.Board].
func (b *Board) Close() error { return nil }

type source struct{ stream string }
