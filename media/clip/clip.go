// Package clip records: it reads one stream's ring with a reader of its own,
// cuts it into clips at key frames, muxes each into fragmented MP4
// (ISO/IEC 14496-12) and writes it to a [Store] that it is handed.
//
// It must not know what becomes of the bytes: sealing, names, folders and
// manifests are the store's. It never blocks the ring: a store that is slow
// costs frames of its own clips alone, and those are counted. Picture bytes are
// not copied before they are muxed. No frame is lost or doubled between one clip
// and the next: the key frame that closes a clip begins the next, and where
// nothing is wanted for a while, the next begins no earlier. While nothing is
// wanted ([Recorder.Follow]) it reads nothing.
package clip

import (
	"context"
	"io"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/media"
)

// Store makes room for clips. It is called by one goroutine at a time.
type Store interface {
	// Create begins a clip. An error means that there is no room now: the
	// recorder tries again at a later key frame. ctx bounds this call only.
	Create(ctx context.Context, start Start) (Sink, error)
	// Missed tells of pictures that were to be recorded and are in no clip, in
	// order, each once. It is called as soon as a later fragment has been synced,
	// and when Run ends.
	Missed(Miss)
}

// Start says what a clip begins with.
type Start struct {
	Stream     string    // "main", "sub"
	Time       time.Time // capture of the first frame, with its monotonic reading
	FirstFrame uint64    // its number
	Order                // as it is then
}

// Sink takes one clip. It is used by one goroutine, and ended by a Close without
// error or by Fail, once; nothing is called after that. Any error, also of Close,
// is followed by Fail.
type Sink interface {
	// Write takes the bytes of the MP4 in order, in the clear: they are to be
	// sealed before they touch anything (P5). First ftyp and moov, then one call
	// a fragment. The bytes are valid during the call only.
	io.Writer
	// Sync is called after every fragment: what was written is to survive a
	// power cut, as far as it can (R3). Info is of what has been written.
	Sync(Info) error
	// Close completes the clip.
	Close(Info) error
	// Fail ends a clip that can't go on, whose newest picture has this number. What
	// was synced of it is kept as far as it can be, as a clip that was cut; Fail
	// returns the number of the first picture that may be recorded once more: the
	// clip's first if nothing is kept, the one after newest if none may be.
	Fail(newest uint64) (next uint64)
}

// Info describes what is in a file: at Close the whole clip.
type Info struct {
	Frames     int           // pictures in the file
	FirstFrame uint64        // number of the first
	LastFrame  uint64        // and of the last; numbers in between may be missing if the board lost some
	Duration   time.Duration // from the first picture's capture to the last one's end
	Cut        bool          // ended in the middle of a GOP: the recorder lagged, or the GOP was too large for a clip
	Order                    // it counts, not that of the start: an event may have begun since
}

// Limits of a clip and of its fragments, by the design.
const (
	MaxLength     = 60 * time.Second
	MaxBytes      = 8_000_000
	MaxFragment   = time.Second
	FragmentBytes = 256 << 10
)

// Config of a recorder. Zero fields mean the default.
type Config struct {
	// Length of a clip: it closes at the first key frame at or after it; one of an
	// alarm at or after Urgent. Default 10 s, and 4 s.
	Length time.Duration
	Urgent time.Duration
	// MaxLength and MaxBytes are never exceeded; a clip closes at the key frame
	// before. Default and upper limit: the constants of the same names.
	MaxLength time.Duration
	MaxBytes  int
	// MaxFragment and FragmentBytes bound one fragment; one picture alone may be
	// larger. Default and upper limit: the constants of the same names.
	MaxFragment   time.Duration
	FragmentBytes int
	// WantKeyframe, if set, is called when a clip should end soon: what is wanted
	// has changed, an alarm's clip has its length, or a GOP threatens to become too
	// large for a clip. It must not block.
	WantKeyframe func()
	Log          *zap.Logger // nil: silent
}

func (c Config) withDefaults() Config {
	c.MaxLength = within(c.MaxLength, MaxLength)
	c.MaxBytes = within(c.MaxBytes, MaxBytes)
	c.MaxFragment = within(c.MaxFragment, MaxFragment)
	c.FragmentBytes = within(c.FragmentBytes, FragmentBytes)
	if c.Length <= 0 {
		c.Length = 10 * time.Second
	}
	c.Length = min(c.Length, c.MaxLength)
	if c.Urgent <= 0 {
		c.Urgent = 4 * time.Second
	}
	c.Urgent = min(c.Urgent, c.Length)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// within returns v, or limit if v is unset or beyond it.
func within[T int | time.Duration](v, limit T) T {
	if v <= 0 || v > limit {
		return limit
	}
	return v
}

// Recorder cuts one stream into clips.
type Recorder struct {
	stream *media.Stream
	store  Store
	cfg    Config
	log    *zap.Logger
	orders orders

	// Of Run's goroutine.
	rd      *media.Reader  // nil: nothing is wanted
	open    *clip          // nil: waits for a key frame
	closing bool           // open has all its pictures, up to end, and waits for the rest of its sound
	end     time.Time      // capture of the key frame that closes it
	held    []media.Sample // what came since, that key frame first
	over    bool           // nothing is wanted of the newest picture
	next    uint64         // pictures before this number are in clips, or beyond reach, or not to be kept
	early   bool           // the newest key frame read is from before Forget
	seen    picture        // the newest one read
	fresh   *mark          // what is wanted, while nothing of it was read yet
	lagged  bool           // those between it and the next were lost to the ring
	retry   bool           // the store failed: what the ring still holds from next on is to be tried again
	buf     buffers
	trouble trouble
	missed  misses
}

// picture is what is remembered of a picture that was read.
type picture struct {
	seq  uint64
	time time.Time
	long time.Duration // about
}

// New makes a recorder; it starts nothing, and records nothing until it is told
// to by Follow.
func New(stream *media.Stream, store Store, cfg Config) *Recorder {
	cfg = cfg.withDefaults()
	log := cfg.Log.With(zap.String("stream", stream.Name))
	return &Recorder{stream: stream, store: store, cfg: cfg, log: log, trouble: trouble{log: log},
		orders: orders{wake: make(chan struct{}, 1)}, missed: misses{stream: stream.Name}}
}
