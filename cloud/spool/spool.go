// Package spool alone owns the card.
package spool

import (
	"context"
	"errors"
	"io"
	"time"

	"go.uber.org/zap"
)

// Lane is the urgency of an object; lower ones go first.
type Lane uint8

// The lanes, in the order in which they are uploaded. Routine objects that are
// found on the card at start become Backfill.
const (
	Snapshot Lane = iota
	Alarm
	Routine
	Backfill
)

func (l Lane) String() string { return [...]string{"snapshot", "alarm", "routine", "backfill"}[l&3] }

// The kinds of failure of a card; test with errors.Is.
var (
	// ErrFull: no space, and nothing that is already in the store to evict.
	ErrFull = errors.New("card full")
	// ErrReadOnly: the card can only be read.
	ErrReadOnly = errors.New("card is read-only")
	// ErrGone: the card does not answer, is missing, or was pulled.
	ErrGone = errors.New("card is gone")
	// ErrName: a name that could not be a file's, or is there already.
	ErrName = errors.New("bad object name")
)

// Config of a Spool.
type Config struct {
	MaxBytes int64 // limit for all objects together; 0: as much as the card holds
	MinFree  int64 // bytes that stay free on the card
	// RequireMount refuses a folder that lies on the same file system as its
	// parent: the card is missing, and this would fill the root file system.
	RequireMount bool
	FS           FS // nil: the operating system's; tests inject faults here
	Log          *zap.Logger
}

// Part is one file of an object.
type Part struct {
	Name   string // file name, the last part of the key in the store
	Size   int64
	SHA256 [32]byte
}

// Object is what is uploaded and released as one: a clip and then its
// manifest, or a single sealed file.
type Object struct {
	Name  string // without endings for a clip, the file name otherwise
	Lane  Lane
	Parts []Part // in the order in which they are to be stored
}

// Size is the sum of the parts.
func (o Object) Size() (n int64) {
	for _, p := range o.Parts {
		n += p.Size
	}
	return n
}

// Entry is one line of a list.
type Entry struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Uploaded bool   `json:"uploaded"`
}

// Stats is the state of the card.
type Stats struct {
	Pending      int       // objects not yet confirmed in the store
	PendingBytes int64     //
	Oldest       time.Time // start of the oldest pending object; zero if none
	Uploaded     int       // objects kept although the store has them
	UsedBytes    int64     // of all files, open ones included
	Removed      int       // files that recovery removed at start
	Finished     int       // half-done commits and releases that recovery finished
	Evicted      uint64    // uploaded objects removed to make room
	Err          error     // the last failure of the card, nil after a success
}

// Spool owns the card. Methods may be called from any goroutine; each *File
// from one at a time. It has no goroutines.
type Spool struct{ state }

// Open takes hold of the card at dir and runs recovery. dir is created if its
// parent exists. Errors: ErrGone, ErrReadOnly, ErrFull, or that another process
// holds the card.
func Open(dir string, cfg Config) (*Spool, error) { return open(dir, cfg) }

// Close lets go of the card. Open Files fail from then on.
func (s *Spool) Close() error { return s.close() }

// Create begins a clip: <name>.mp4.age.part. Name comes from ClipName; lane is
// Alarm or Routine. ErrFull if there is no space and nothing to evict.
func (s *Spool) Create(name string, lane Lane) (*File, error) { return s.create(name, lane) }

// Add stores one small sealed object at once and durably, under its file name,
// for example <clip name>.jpg.age.
func (s *Spool) Add(name string, lane Lane, data []byte) (Object, error) {
	return s.add(name, lane, data)
}

// Next waits for the most urgent object and lends it out: it is not offered
// again until Return. Within a lane the order of Commit is kept. An error is
// ctx's, or a failure of the card.
func (s *Spool) Next(ctx context.Context) (Object, error) { return s.next(ctx) }

// Return puts a lent object back at its place in its lane, not to be offered
// again for the given time.
func (s *Spool) Return(o Object, after time.Duration) { s.giveBack(o, after) }

// Release says that the store has confirmed all parts of o: they are kept while
// there is room, and evicted first, together.
func (s *Spool) Release(o Object) error { return s.release(o) }

// Pending tells whether an object of that name still waits for its release.
func (s *Spool) Pending(name string) bool { return s.pending(name) }

// OpenPart opens a file of the card by its name, uploaded or not, for reading.
func (s *Spool) OpenPart(name string) (io.ReadSeekCloser, error) { return s.openPart(name) }

// List returns up to limit objects, newest first, whose names sort before
// `before` (empty: from the newest); the last name is the next page's before.
func (s *Spool) List(before string, limit int) []Entry { return s.list(before, limit) }

// Stats returns the state of the card; it never waits for the card.
func (s *Spool) Stats() Stats { return s.stats() }

// Wipe removes every object, uploaded or not: unbinding. Open Files fail from
// then on. It can be repeated after a power cut.
func (s *Spool) Wipe() error { return s.wipe() }
