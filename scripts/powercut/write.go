package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
)

// Limits small enough that the card is full now and then.
const (
	maxBytes  = 6 << 20
	fragments = 6        // of a clip, at most
	fragment  = 96 << 10 // bytes, at most
	backlog   = 8        // clips that wait for upload, at most: then nothing is given up
)

// words are what a writer says, a line each: the word, and a name and more.
const (
	sayHere     = "here"     // NAME SUM STATE: an object of the card, whole; "pending" or "uploaded"
	sayFinished = "finished" // NAME BYTES: about to be closed after a cut
	sayDropped  = "dropped"  // NAME: given up for room
	sayReady    = "ready"    // NUMBER: all of the card is told
	saySynced   = "synced"   // NAME BYTES: so much is promised
	sayClosed   = "closed"   // NAME SUM: promised
	sayGone     = "released" // NAME: the store has it
)

// manifest stands for the signed one.
type manifest struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Cut    bool   `json:"cut"`
}

// sumOf stands for an object: its file's hash, and its manifest if it has one.
func sumOf(file [32]byte, manifest []byte) string {
	sum := sha256.Sum256(append(file[:], manifest...))
	return hex.EncodeToString(sum[:8])
}

type writer struct {
	card  *spool.Spool
	out   io.Writer
	drain func() // waits until what was said has left the machine
	now   time.Time
	rng   *rand.Rand
}

func write(dir string, out io.Writer, drain func()) error {
	card, err := spool.Open(dir, spool.Config{MaxBytes: maxBytes, RequireMount: true})
	if err != nil {
		return err
	}
	w := &writer{card: card, out: out, drain: drain, now: time.Now(), rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))}
	if err := w.recover(); err != nil {
		return err
	}
	if err := w.tell(); err != nil {
		return err
	}
	for {
		if err := w.record(); err != nil {
			return err
		}
		for card.Stats().Pending > w.rng.IntN(backlog) {
			if err := w.release(); err != nil {
				return err
			}
		}
	}
}

func (w *writer) say(word string, args ...any) {
	fmt.Fprintln(w.out, append([]any{word}, args...)...)
	if w.drain != nil {
		w.drain()
	}
}

// recover closes what a cut left open, as far as its journal tells.
func (w *writer) recover() error {
	for _, u := range w.card.Unfinished() {
		var size int64
		for _, n := range u.Notes {
			var noted int64
			if _, err := fmt.Sscanf(string(n), "size %d", &noted); err != nil {
				return fmt.Errorf("%s: a note says %q", u.Name, n)
			}
			size = max(size, noted)
		}
		if size > u.Size {
			return fmt.Errorf("%s: %d bytes, a note tells of %d", u.Name, u.Size, size)
		}
		if size == 0 {
			if err := w.card.Discard(u.Name); err != nil {
				return err
			}
			continue
		}
		f, err := w.card.Finish(u.Name, size)
		if err != nil {
			return err
		}
		w.say(sayFinished, u.Name, size)
		if err := w.commit(f, u.Name, spool.Routine, true); err != nil {
			return err
		}
	}
	return nil
}

// tell reads the card.
func (w *writer) tell() error {
	dropped, err := w.card.Dropped()
	if err != nil {
		return err
	}
	for _, d := range dropped {
		w.say(sayDropped, d.Name)
		if err := w.card.Forget(d.Name); err != nil {
			return err
		}
	}
	q := spool.Query{Limit: 100}
	for {
		page, err := w.card.List(q)
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := w.read(e); err != nil {
				return err
			}
		}
		if len(page) < q.Limit {
			break
		}
		q.Before = page[len(page)-1].Name
	}
	w.say(sayReady, w.card.Stats().Removed)
	return nil
}

// read tells of one object, if it is whole.
func (w *writer) read(e spool.Entry) error {
	state := "pending"
	if e.Uploaded {
		state = "uploaded"
	}
	file := e.Name
	if _, err := cloud.ParseClipName(e.Name); err == nil {
		file += cloud.ExtClip
	}
	b, err := w.content(file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	var raw []byte
	if file != e.Name {
		if raw, err = w.content(e.Name + cloud.ExtManifest); err != nil {
			return err
		}
		var m manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("%s: manifest: %w: %.100q", e.Name, err, raw)
		}
		if got := hex.EncodeToString(sum[:]); m.Size != int64(len(b)) || m.SHA256 != got {
			return fmt.Errorf("%s: %d bytes %.8s, its manifest claims %d bytes %.8s", e.Name, len(b), got, m.Size, m.SHA256)
		}
	}
	w.say(sayHere, e.Name, sumOf(sum, raw), state)
	return nil
}

func (w *writer) content(file string) ([]byte, error) {
	f, err := w.card.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// record writes one clip, and sometimes a snapshot.
func (w *writer) record() error {
	w.now = w.now.Add(time.Duration(1+w.rng.IntN(900)) * time.Second) // hours change often
	name := cloud.ClipName(w.now)
	f, err := w.card.Create(name)
	if err != nil {
		return err
	}
	for range 1 + w.rng.IntN(fragments) {
		b := make([]byte, 1+w.rng.IntN(fragment))
		for i := range b {
			b[i] = byte(w.rng.Uint32())
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Note(fmt.Appendf(nil, "size %d", f.Size())); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		w.say(saySynced, name, f.Size())
	}
	lane := []spool.Lane{spool.Routine, spool.Alarm}[w.rng.IntN(2)]
	if err := w.commit(f, name, lane, false); err != nil {
		return err
	}
	if w.rng.IntN(4) == 0 {
		return w.snapshot()
	}
	return nil
}

func (w *writer) commit(f *spool.File, name string, lane spool.Lane, cut bool) error {
	sum := f.SHA256()
	m := manifest{Size: f.Size(), SHA256: hex.EncodeToString(sum[:]), Cut: cut}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := f.Commit(lane, text); err != nil {
		return err
	}
	w.say(sayClosed, name, sumOf(sum, text))
	return nil
}

func (w *writer) snapshot() error {
	name := cloud.ClipName(w.now.Add(time.Millisecond)) + ".jpg.age"
	b := make([]byte, 1+w.rng.IntN(30_000))
	if _, err := w.card.Add(name, spool.Snapshot, b); err != nil {
		return err
	}
	w.say(sayClosed, name, sumOf(sha256.Sum256(b), nil))
	return nil
}

// release is an upload.
func (w *writer) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o, err := w.card.Next(ctx)
	if err != nil {
		return errors.Join(err, errors.New("what waits for upload is not offered"))
	}
	w.say(sayGone, o.Name) // the store has it; whether the card knows, a cut decides
	return w.card.Release(o)
}
