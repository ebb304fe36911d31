package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/retry"
)

// Spool owns the card. Methods may be called from any goroutine; each *File
// from one at a time. It has no goroutines but that of AttachSoon.
type Spool struct {
	dir string
	cfg Config
	fs  FS
	log *zap.Logger

	// card is held by whoever changes names on the card, or lists them; it is never
	// taken while mu is held. A slow card makes its holders wait, not mu's.
	card turn

	mu         sync.Mutex  // guards the rest; no card access under it
	lock       io.Closer   // nil: the card is not held
	folder     fs.FileInfo // of the card's folder that is held
	absent     error       // why the card is not held
	x          index
	open       map[string]*item       // what is being written
	left       map[string]*Unfinished // of these, what a cut left open
	leftFrom   string                 // of left, the first that the next Unfinished lists
	ended      error                  // why Files of an older gen cannot go on
	used       int64
	credit     int64                // bytes that may be written before free space is asked for again
	free       int64                // as it was last read
	made       map[string]bool      // hour folders known to exist
	emptied    map[string]bool      // hour folders that may be empty
	newest     string               // the latest hour in which something began
	indexed    string               // newest, when the index was last written
	released   map[uint64]bool      // names' sums: in the store, but not moved, because the card failed
	owner      Owner                // for whom foreign holds
	foreign    map[uint64]bool      // names' sums: somebody else's, in hours that are not all theirs
	spoiled    map[uint64]time.Time // paths' sums: left out until then
	spoiledWhy error                // of one of them
	retryAt    time.Time            // the last of these times
	unsure     map[string]bool      // hours in which something was named by a clock that was not set
	id         string               // of the card
	gen        uint64               // counts wipes, and cards let go
	st         Stats
	changed    chan struct{} // closed and replaced when Next should look again
}

// turn is a mutex that tests in virtual time can wait for.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// Create begins a clip below open/. Name comes from ClipName. ErrFull if there
// is no space and nothing to give up.
func (s *Spool) Create(name string) (*File, error) {
	if err := checkClip(name); err != nil {
		return nil, err
	}
	f := &File{s: s, it: &item{name: name, manifest: -1}, hash: sha256.New()}
	if err := s.begin(f.it, &f.gen); err != nil {
		return nil, err
	}
	s.card.Lock()
	defer s.card.Unlock()
	path := s.openPath(name)
	err := s.markUnsure(hourOf(name))
	if err == nil {
		f.f, err = s.create(path + extClip + extPart)
	}
	if err == nil {
		f.notes, err = s.create(path + extNotes)
	}
	if err != nil {
		f.closeFiles()
		s.removeAll(path+extClip+extPart, path+extNotes)
		s.abandon(f.it, f.gen)
		return nil, s.note(cardError("creating a clip", err))
	}
	return f, nil
}

// begin claims the item's name and checks that there is any room at all.
func (s *Spool) begin(it *item, gen *uint64) error {
	s.mu.Lock()
	*gen = s.gen
	taken := s.open[it.name] != nil
	if !taken {
		s.open[it.name] = it
		s.newest = max(s.newest, hourOf(it.name))
	}
	s.mu.Unlock()
	if !taken && s.find(it.name, treeDropped) >= 0 {
		s.abandon(it, *gen)
		taken = true
	}
	if taken {
		return fmt.Errorf("%w: %s is there already", ErrName, it.name)
	}
	if err := s.reserve(0, *gen); err != nil {
		s.abandon(it, *gen)
		return err
	}
	return nil
}

// abandon gives back the name and the space of an item that did not come to be.
func (s *Spool) abandon(it *item, gen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[it.name] == it && s.gen == gen {
		delete(s.open, it.name)
		s.used -= it.bytes()
	}
}

// enter makes a finished item known.
func (s *Spool) enter(it *item, gen uint64) (Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen {
		return Object{}, s.ended
	}
	delete(s.open, it.name)
	s.used -= it.bytes()
	it.notes = 0
	s.arrive(int(it.home), it)
	s.x.enter(it)
	s.st.Err = nil
	s.wakeLocked()
	return it.object(), nil
}

// Add stores one small sealed object at once and durably, under its file name,
// for example <clip name>.jpg.age.
func (s *Spool) Add(name string, lane Lane, data []byte) (Object, error) {
	if err := checkSingle(name); err != nil {
		return Object{}, err
	}
	if lane > Routine {
		return Object{}, fmt.Errorf("nothing is added to lane %s", lane)
	}
	it := &item{name: name, lane: lane, home: lane, manifest: -1}
	var gen uint64
	if err := s.begin(it, &gen); err != nil {
		return Object{}, err
	}
	o, err := s.addItem(it, gen, data)
	if err != nil {
		s.abandon(it, gen)
		return Object{}, s.note(fmt.Errorf("storing %s: %w", name, err))
	}
	return o, nil
}

func (s *Spool) addItem(it *item, gen uint64, data []byte) (Object, error) {
	if err := s.reserve(int64(len(data)), gen); err != nil {
		return Object{}, err
	}
	it.size = int64(len(data))
	it.sums = &[2][32]byte{sha256.Sum256(data)}
	it.by = s.signer(data)
	s.card.Lock()
	defer s.card.Unlock()
	if err := s.markUnsure(hourOf(it.name)); err != nil {
		return Object{}, err
	}
	dir, err := s.hourDir(it)
	if err != nil {
		return Object{}, cardError("creating a folder", err)
	}
	path := filepath.Join(dir, it.name)
	if err := s.writeFile(path, extPart, data); err != nil {
		return Object{}, errors.Join(err, s.removeAll(path, path+extPart))
	}
	return s.enter(it, gen)
}

// Next waits for the most urgent object and lends it out: it is not offered
// again until Return. Within a lane the order of Commit is kept. An error is
// ctx's, or a failure of the card.
func (s *Spool) Next(ctx context.Context) (Object, error) {
	for {
		s.askOwner()
		it, err := s.borrow(ctx)
		if err != nil {
			return Object{}, err
		}
		foreign, err := s.isForeign(int(it.home), it.name)
		if foreign {
			s.setForeign(it)
			continue
		}
		if err == nil {
			err = s.measure(it)
		}
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return it.object(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.giveBack(it, unreadableWait)
			return Object{}, s.note(cardError("reading "+it.name, err))
		}
		s.vanished(it)
		s.log.Error("an object vanished from the card", zap.String("object", it.name), zap.Error(err))
	}
}

// borrow waits until an item can be lent.
func (s *Spool) borrow(ctx context.Context) (*item, error) {
	for {
		s.mu.Lock()
		it, fill, wait := s.x.offer(time.Now())
		if fill {
			s.mu.Unlock()
			if err := s.fill(it.lane); err != nil {
				return nil, s.note(cardError("reading what waits", err))
			}
			continue
		}
		if it != nil {
			it.lent = true
			s.mu.Unlock()
			return it, nil
		}
		changed := s.changed
		s.mu.Unlock()
		if err := retry.Change(ctx, changed, wait); err != nil {
			return nil, err
		}
	}
}

// measure hashes the files of an item that was found at start, but for a clip
// whose manifest tells its hash.
func (s *Spool) measure(it *item) error {
	if it.sums != nil {
		return nil
	}
	var sums [2][32]byte
	parts := it.object().Parts
	known := false
	for i := len(parts) - 1; i >= 0; i-- { // the manifest first
		path := filepath.Join(s.pendingDir(it), parts[i].Name)
		if i == 0 && known {
			st, err := s.fs.Stat(path)
			if err != nil {
				return err
			}
			if st.Size() == parts[0].Size {
				break
			}
		}
		h := sha256.New()
		var text bytes.Buffer
		to := io.Writer(h)
		if i == 1 && parts[1].Size <= cloud.MaxMessage {
			to = io.MultiWriter(h, &text)
		}
		if err := s.hashFile(path, parts[i].Size, to); err != nil {
			return err
		}
		h.Sum(sums[i][:0])
		if i == 1 {
			sums[0], known = signedSum(text.Bytes(), it.name, parts[0].Size)
		}
	}
	s.mu.Lock()
	it.sums = &sums
	s.mu.Unlock()
	return nil
}

// hashFile copies a file of that size.
func (s *Spool) hashFile(path string, size int64, to io.Writer) error {
	f, err := s.fs.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(to, f)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes, expected %d", filepath.Base(path), n, size)
	}
	return err
}

// Return puts a lent object back at its place in its lane, not to be offered
// again for the given time.
func (s *Spool) Return(o Object, after time.Duration) {
	s.mu.Lock()
	it := s.x.byName[o.Name]
	s.mu.Unlock()
	if it != nil {
		s.giveBack(it, after)
	}
}

func (s *Spool) giveBack(it *item, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.lent, it.ready = false, time.Now().Add(after)
	s.wakeLocked()
}

// vanished drops an item whose files are not there any more.
func (s *Spool) vanished(it *item) {
	s.card.Lock()
	defer s.card.Unlock()
	s.mu.Lock()
	s.x.drop(it)
	s.mu.Unlock()
	s.recount(int(it.home), hourOf(it.name))
}

// fill reads the next objects of a lane from the card into memory, in the order
// of their names. When it has found many that are somebody else's it returns before
// its end, so that others may use the card in between.
func (s *Spool) fill(l Lane) error {
	s.card.Lock()
	defer s.card.Unlock()
	if err := s.held(); err != nil {
		return err
	}
	t, room := int(min(l, Routine)), s.windowRoom(l)
	bad, theirs := 0, 0
	for from := ""; ; {
		h, ok := s.nextHour(choice{t, anything, anyHour}, from)
		if !ok {
			break
		}
		from = h.name + "\x00"
		entries, err := s.readHour(t, h.name, nil)
		if err != nil {
			if err := s.skip(s.hourDirOf(t, h.name), &bad, err); err != nil {
				return err
			}
			continue
		}
		if room == 0 || theirs >= window {
			return nil
		}
		foreign, learned := s.theirs(t, h.name, entries)
		theirs += learned
		for _, e := range entries {
			if foreign[e.name] {
				continue
			}
			if room == 0 {
				return nil
			}
			added, err := s.fillOne(l, t, e)
			if err != nil {
				return err
			}
			if added {
				room--
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x.lanes[l].more = false
	return nil
}

// fillOne takes an object into memory, unless it is there already.
func (s *Spool) fillOne(l Lane, t int, e entry) (added bool, err error) {
	s.mu.Lock()
	skip := e.file == nil || s.x.byName[e.name] != nil || s.released[nameSum(e.name)]
	s.mu.Unlock()
	if skip {
		return false, nil
	}
	it, err := e.item(t)
	if err != nil {
		return false, err
	}
	it.lane = l
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x.push(it)
	return true, nil
}

// windowRoom is how many objects may be read into a lane: those that are lent or
// set aside hold up no others.
func (s *Spool) windowRoom(l Lane) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := window
	for _, it := range s.x.lanes[l].items {
		if !it.lent && it.ready.IsZero() {
			room--
		}
	}
	return max(0, room)
}

// live is nil while a File that was begun at gen may go on.
func (s *Spool) live(gen uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen != gen {
		return s.ended
	}
	return nil
}

func (s *Spool) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// note remembers the last failure of the card for Stats.
func (s *Spool) note(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Err = err
	return err
}
