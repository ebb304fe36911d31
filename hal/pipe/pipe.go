// Package pipe is the board for everything that runs outside of this program:
// in its raw form ([New]) whatever writes H.264 by itself, which is a program's
// standard output (rpicam-vid, ffmpeg, a vendor's sample), a FIFO that such a
// program writes to, or a recorded file that is replayed; in its framed form
// ([NewFramed]) one sidecar program that serves the whole camera.
//
// The raw form reads Annex B (ITU-T H.264, annex B) and hands over whole access
// units. The board owns the programs it starts: each is a process group of its
// own and is gone when its stream is closed. It never runs a shell (S6), never
// decodes, and never restarts anything by itself: a stream whose program ended
// is dead ([hal.ErrGone]), and opening it again starts the program anew; who
// opens, and how long he waits in between, is the agent's matter (R4). When a
// device gives nothing for too long is [hal.Camera]'s.
//
// A program that is started anew begins with a key frame and takes new numbers
// in its arguments ([Source].Command), so that Camera makes key frames and tunes
// by restart. A FIFO's writer is not ours to restart: it is to be started with a
// GOP of one or two seconds.
package pipe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/hal"
)

// Source says where one stream comes from: exactly one of Command and Path.
type Source struct {
	// Stream is "main" or "sub".
	Stream string
	// Command is a program and its arguments, without a shell; it writes Annex B
	// to its standard output, a key frame first. The program is looked up in PATH.
	// In its arguments {width}, {height}, {fps}, {gop} and {bitrate} stand for what
	// is wished, or for the defaults below.
	Command []string
	// Path is a FIFO, which is read until its writer closes it, or a regular
	// file, which is replayed in a loop at FPS pictures a second.
	Path string
	// FPS is the nominal picture rate; 0: as the stream itself says.
	FPS int
	// Width, Height, GOP and Bitrate (bits per second) are what the placeholders of
	// Command stand for; each is needed if its placeholder is there. Otherwise they
	// tell what the stream does, as far as it doesn't say so itself.
	Width, Height, GOP, Bitrate int
	// The ranges within which the placeholders can be tuned, by starting the
	// program anew; zero: not at all.
	FPSRange, GOPRange, BitrateRange hal.Range
	// EarlyCut ends an access unit after a pause of the writer, instead of when
	// the next one begins one picture later. Only for writers that write a whole
	// access unit at once: 3 ms suits them. 0: off.
	EarlyCut time.Duration
}

// Config makes a Board.
type Config struct {
	Sources []Source
	Log     *zap.Logger // nil: silent
}

// Board is a set of byte streams. Its methods may be called from any goroutine.
type Board struct {
	log      *zap.Logger
	sources  []Source // main first
	streams  []hal.StreamInfo
	fifoWait time.Duration

	mu   sync.Mutex
	open map[*stream]bool
}

var _ hal.Board = (*Board)(nil)

// New checks the sources, all of them, and starts nothing. A program or file
// that does not exist is [hal.ErrNotFound].
func New(c Config) (*Board, error) {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if err := check(c.Sources); err != nil {
		return nil, err
	}
	b := &Board{log: c.Log, sources: slices.Clone(c.Sources), fifoWait: writerWithin, open: map[*stream]bool{}}
	if order(b.sources[0].Stream) > 0 { // main and sub, that is: sorting so few takes 20 kB of code
		slices.Reverse(b.sources)
	}
	for _, s := range b.sources {
		b.streams = append(b.streams, s.info())
	}
	return b, nil
}

func order(name string) int { return slices.Index([]string{"main", "sub"}, name) }

func check(sources []Source) error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range sources {
		if seen[s.Stream] {
			errs = append(errs, fmt.Errorf("pipe board: two sources for stream %q, want one", s.Stream))
		}
		seen[s.Stream] = true
		if err := s.check(); err != nil {
			errs = append(errs, fmt.Errorf("pipe board, stream %q: %w", s.Stream, err))
		}
	}
	if !seen["main"] {
		errs = append(errs, errors.New(`pipe board: no source for stream "main"`))
	}
	return errors.Join(errs...)
}

const maxFPS = 240

func (s *Source) check() error {
	switch {
	case order(s.Stream) < 0:
		return errors.New(`unknown stream, want "main" or "sub"`)
	case len(s.Command) == 0 && s.Path == "":
		return errors.New("neither command nor path, want one of them")
	case len(s.Command) > 0 && s.Path != "":
		return errors.New("both command and path, want one of them")
	case s.FPS < 0 || s.FPS > maxFPS:
		return fmt.Errorf("fps is %d, want 0 (as the stream says) to %d", s.FPS, maxFPS)
	case s.EarlyCut < 0 || s.EarlyCut > time.Second:
		return fmt.Errorf("early cut is %v, want 0 (off) to 1s", s.EarlyCut)
	}
	if err := s.checkPlaceholders(); err != nil {
		return err
	}
	if s.Path != "" {
		_, err := s.stat()
		return err
	}
	_, err := exec.LookPath(s.Command[0])
	if err != nil {
		return fmt.Errorf("%w: program %q", hal.ErrNotFound, s.Command[0])
	}
	return nil
}

// stat returns the mode of the path: a FIFO's, or a regular file's.
func (s *Source) stat() (fs.FileMode, error) {
	fi, err := os.Stat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("%w: file %q", hal.ErrNotFound, s.Path)
	case err != nil:
		return 0, err
	case !fi.Mode().IsRegular() && fi.Mode().Type() != fs.ModeNamedPipe:
		return 0, fmt.Errorf("%q is neither a FIFO nor a regular file", s.Path)
	}
	return fi.Mode(), nil
}

// info describes the stream. A path that is gone since the check counts as a file.
func (s *Source) info() hal.StreamInfo {
	mode, _ := s.stat()
	return hal.StreamInfo{
		Name: s.Stream, Default: s.defaults(), Reopens: len(s.Command) > 0 || mode&fs.ModeNamedPipe == 0,
		FPS: s.FPSRange, GOP: s.GOPRange, Bitrate: s.BitrateRange,
	}
}

// Info implements [hal.Board].
func (b *Board) Info() hal.Info { return hal.Info{Board: "pipe", Model: "external encoder"} }

// Streams implements [hal.Board].
func (b *Board) Streams() []hal.StreamInfo { return slices.Clone(b.streams) }

// OpenVideo implements [hal.Board]: it starts the program or opens the file. It
// does not wait for a picture; until the first one has been read, Config knows
// no more than the configuration.
func (b *Board) OpenVideo(ctx context.Context, name string, want hal.VideoConfig) (hal.VideoStream, error) {
	i := slices.IndexFunc(b.sources, func(s Source) bool { return s.Stream == name })
	if i < 0 {
		return nil, fmt.Errorf("pipe board: %w: %q", hal.ErrNoStream, name)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := b.start(b.sources[i], want)
	if err != nil {
		return nil, fmt.Errorf("pipe board, stream %q: %w", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[s] = true
	return s, nil
}

func (b *Board) forget(s *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, s)
}

// Close implements [hal.Board]; it waits until the programs are gone.
func (b *Board) Close() error {
	b.mu.Lock()
	open := slices.Collect(maps.Keys(b.open))
	b.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
