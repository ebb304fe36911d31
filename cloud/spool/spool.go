// Package spool alone owns the card: one folder that holds sealed objects until
// the store has confirmed them, and for as long afterwards as there is room.
//
// It gets bytes that are sealed already and never sees plaintext or a key; so
// nothing readable can reach the card through it, temporary files included (P5).
// It must not talk to the network, and nobody else may write below its folder.
//
// docs/card.md tells what lies where, and why the order of each step is as it is.
// Retention is in room.go and dropped.go, recovery in recover.go.
//
// # Layout
//
//	open/<name>.mp4.age.part              a clip that is being written
//	open/<name>.notes                     its journal
//	pending/<lane>/<hour>/<name>.mp4.age  a closed clip, not yet confirmed
//	pending/<lane>/<hour>/<name>.jws      its manifest
//	pending/<lane>/<hour>/<name>.jpg.age  a single sealed object, or a gap record (.gap.jws)
//	uploaded/<hour>/…                     the same, confirmed in the store
//	dropped/<hour>/<name>.jws             the manifest of a clip that was given up before
//	index/card                            a random id of the card
//	index/hours                           counts of each hour folder, for a fast start
//
// Lane is snapshot, alarm or routine; hour is the UTC hour in the name (2006010215).
//
// # Commit
//
//  1. fsync the .part, the journal, and open/
//  2. write <name>.jws.tmp, fsync, rename to <name>.jws, fsync the hour folder
//  3. rename the .part to <name>.mp4.age, fsync both folders
//  4. remove the journal
//
// The manifest is on the card only if the whole clip is: step 2 decides.
//
// # Recovery, at every Attach that takes hold of a card, hour by hour
//
//  1. Temporary files (.jws.tmp, .jpg.age.part) are removed: nobody was told that they exist.
//     But where the final name is there without bytes, a FAT has half done a rename: it is
//     done again. So it is with a .part and an empty clip, and with the halves of a release.
//  2. A .part with its manifest is a commit cut after step 2: steps 3 and 4 follow.
//  3. If one of a pair lies under uploaded/ and the other under pending/, a
//     release was cut: the other one follows.
//  4. One of a pair alone under uploaded/ is the rest of an eviction: removed.
//  5. A manifest alone under pending/ is a clip that was given up: it goes to
//     dropped/. A clip beside a manifest in dropped/ follows it: removed.
//  6. A clip alone under pending/ cannot come from a cut (the card lost the file):
//     it is kept and uploaded alone.
//  7. A .part without manifest is a clip that was open: it stays for Finish or Discard.
//  8. Journals without a .part and empty hour folders are removed; files with
//     foreign names are left alone.
//
// What recovery did is counted in Stats. After a cut, every clip whose Commit
// returned nil is there with its manifest (R2), and of each open clip all that a
// Sync had made durable (R3).
package spool

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
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
	// ErrFull: no space, and nothing that may be given up.
	ErrFull = errors.New("card full")
	// ErrReadOnly: the card can only be read.
	ErrReadOnly = errors.New("card is read-only")
	// ErrGone: the card does not answer, is missing, or was pulled.
	ErrGone = errors.New("card is gone")
	// ErrBusy: another process holds the card.
	ErrBusy = errors.New("another process uses it")
	// ErrName: a name that could not be a file's, or is there already.
	ErrName = errors.New("bad object name")
)

// Config of a Spool.
type Config struct {
	MaxBytes int64 // limit for all objects together; 0: as much as the card holds
	MinFree  int64 // bytes that stay free on the card; objects are given up for them
	// MaxAge is how long objects are kept, uploaded or not; 0: no limit.
	MaxAge time.Duration
	// Now is the wall-clock for MaxAge; its zero time says that it cannot be
	// trusted, and nothing ages. nil: time.Now.
	Now func() time.Time
	// RequireMount refuses a folder that lies on the same file system as its
	// parent: the card is missing, and this would fill the root file system.
	RequireMount bool
	// Owner tells for whom the camera records now: what another camera, or this one
	// for another owner, has signed is neither offered nor given up while it waits.
	// nil: all is ours.
	Owner func() Owner
	// Leaving is told before an object is removed from the card for room or for its
	// age, uploaded or not; an error keeps it. It may call Pending and ID, else nothing
	// of the Spool. nil: nobody.
	Leaving func(name string) error
	FS      FS // nil: the operating system's; tests inject faults here
	Log     *zap.Logger
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

// Query picks objects of a list; the zero Query: all.
type Query struct {
	Before   string    // names that sort before it; empty: from the newest
	From, To time.Time // of the start: not before From, before To; zero: no limit
	Limit    int       // 0: 1000
}

// Dropped is a clip that was given up before the store had it.
type Dropped struct {
	Name     string
	Manifest []byte
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
	Removed      int       // files that recovery removed
	Finished     int       // half-done commits and releases that recovery finished
	Evicted      uint64    // uploaded objects removed to make room, or for their age
	Dropped      uint64    // objects removed that the store did not have
	Foreign      int       // objects that wait and are somebody else's, as far as they were looked at
	Spoiled      error     // what can't be used of a card that works otherwise; nil: nothing
	Err          error     // the last failure of the card, nil after a success
}

// Object and part names end so.
const (
	extClip     = cloud.ExtClip
	extManifest = cloud.ExtManifest
	extPart     = ".part"
	extNotes    = ".notes"
	extTmp      = ".tmp"
)
