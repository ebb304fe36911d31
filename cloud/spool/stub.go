package spool

import (
	"context"
	"errors"
	"io"
	"time"
)

var errStub = errors.New("not there yet")

// File is a clip that is being written.
type File struct{}

// Write appends sealed bytes.
func (f *File) Write(p []byte) (int, error) { return 0, errStub }

// Sync makes durable what was written so far (once a fragment).
func (f *File) Sync() error { return errStub }

// Size returns the bytes written so far.
func (f *File) Size() int64 { return 0 }

// SHA256 returns the hash of the bytes written so far.
func (f *File) SHA256() (sum [32]byte) { return }

// Commit stores the manifest beside the finished clip; when it returns nil, both survive any cut.
func (f *File) Commit(manifest []byte) (Object, error) { return Object{}, errStub }

// Abort removes the unfinished clip; after Commit it does nothing.
func (f *File) Abort() error { return errStub }

// ClipName makes the name of a clip that starts at start: 20060102T150405.000Z-<8 random characters>, UTC.
func ClipName(start time.Time) string { return "" }

// ClipStart reads the start out of a name of ClipName, with any endings.
func ClipStart(name string) (time.Time, error) { return time.Time{}, errStub }

type state struct{}

func open(string, Config) (*Spool, error)                 { return nil, errStub }
func (*state) close() error                               { return errStub }
func (*state) create(string, Lane) (*File, error)         { return nil, errStub }
func (*state) add(string, Lane, []byte) (Object, error)   { return Object{}, errStub }
func (*state) next(context.Context) (Object, error)       { return Object{}, errStub }
func (*state) giveBack(Object, time.Duration)             {}
func (*state) release(Object) error                       { return errStub }
func (*state) pending(string) bool                        { return false }
func (*state) openPart(string) (io.ReadSeekCloser, error) { return nil, errStub }
func (*state) list(string, int) []Entry                   { return nil }
func (*state) stats() (s Stats)                           { return }
func (*state) wipe() error                                { return errStub }
