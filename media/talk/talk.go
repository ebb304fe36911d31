// Package talk lets people speak through a camera: one at a time, whatever way
// their sound came. It evens out what a network does to packets of G.711 (order,
// loss, jitter, a clock that is off) and plays the result at the speaker's pace,
// in the format that the speaker likes best.
//
// The package knows nothing of RTSP, MQTT or members: whoever brings packets
// has asked before whether their sender may talk, and closes the [Talker] when
// that ends. It never waits for the speaker where packets come in, and holds at
// most 400 ms of sound.
//
// Who owns what: a [Desk] owns the speaker while somebody talks; [Desk.Run] is
// the one goroutine that opens, writes and closes it. Talkers belong to those
// who joined them.
package talk

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// Speaker is what [hal.Camera] has for this.
type Speaker interface {
	SpeakerFormats() []hal.AudioFormat
	OpenSpeaker(ctx context.Context, f hal.AudioFormat) (hal.Playback, error)
}

// Config of a desk. Zero values are the defaults.
type Config struct {
	// Lease is how long the floor stays with one who sends nothing (5 s).
	Lease time.Duration
	// Log gets a line for each talk, each attempt that is refused, and, once a
	// second, for a speaker that fails; nil: none.
	Log *zap.Logger
}

// Packet is one piece of G.711 at 8 kHz, one channel, as it came (RFC 3551,
// 4.5.14): 10 to 60 ms of it as a rule, 200 ms at most.
type Packet struct {
	Codec     hal.Codec // PCMU or PCMA
	Sequence  uint16
	Timestamp uint32 // of the first sample, in samples
	Payload   []byte // not kept
}

// Why a packet is not played.
var (
	// ErrBusy: another has the floor.
	ErrBusy = errors.New("another talks")
	// ErrShut: nobody may talk now.
	ErrShut = errors.New("talking is shut off")
	// ErrClosed: this talker was closed.
	ErrClosed = errors.New("talker closed")
	// ErrPacket: that is no packet of G.711.
	ErrPacket = errors.New("no packet of G.711")
)

// Stats counts what happened since the desk was made.
type Stats struct {
	Turns   uint64 // times that somebody took the floor
	Packets uint64 // put in to be played
	Refused uint64 // from others while the floor was taken, or while it was shut
	Garbage uint64 // no packets of G.711
	Late    uint64 // came when their time was over, or twice
	Skipped uint64 // samples thrown away, the oldest first, because more than 400 ms waited
	Lost    uint64 // samples that were made up for lost ones
	Errors  uint64 // of the speaker
}

// What holds for every desk.
const (
	rate      = 8000                   // samples per second of G.711
	frameTime = 20 * time.Millisecond  // is written at once
	minDelay  = 60 * time.Millisecond  // that sound waits for stragglers
	maxDelay  = 200 * time.Millisecond // the same, where the network is uneven
	maxHeld   = 340 * time.Millisecond // with lead and frame not more than 400 ms behind
	lead      = 40 * time.Millisecond  // of silence in front: what the speaker holds when a frame comes late
	catchUp   = 100 * time.Millisecond // of late frames
	quiet     = 200 * time.Millisecond // without a packet is a pause
	slack     = 10 * time.Millisecond  // that delay and timestamps may be off
	patience  = 3                      // packets that are too late, until all is begun anew
	window    = 5 * time.Second        // in which the network is observed, and as long before
	retryTime = time.Second            // from one failure of the speaker to the next attempt
	maxSize   = rate / 5               // samples of a packet
)

// samples tells how many samples d lasts.
func samples(d time.Duration) int64 { return int64(d) * rate / int64(time.Second) }

// lasting is the reverse.
func lasting(samples int64) time.Duration { return time.Duration(samples) * time.Second / rate }
