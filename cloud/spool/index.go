package spool

import (
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// item is one object in memory. The fields that change are guarded by Spool.mu.
type item struct {
	name     string
	size     int64
	manifest int64        // size of the manifest; -1 without
	notes    int64        // of the journal, while it is open
	by       *Owner       // for whom it was recorded; nil: not looked at
	sums     *[2][32]byte // of file and manifest; nil: not read since the start
	lane     Lane
	home     Lane // the lane's folder (routine for Backfill)
	lent     bool
	first    bool      // was preferred
	ready    time.Time // not to be offered before
}

func isClip(name string) bool { return len(name) == stemLen }

func isGap(name string) bool { return strings.HasSuffix(name, cloud.ExtGap) }

func (it *item) bytes() int64 { return it.size + max(0, it.manifest) + it.notes }

// files lists the item's files in the order in which they are stored and moved.
func (it *item) files() []string {
	if !isClip(it.name) {
		return []string{it.name}
	}
	if it.manifest < 0 {
		return []string{it.name + extClip}
	}
	return []string{it.name + extClip, it.name + extManifest}
}

func (it *item) object() Object {
	o := Object{Name: it.name, Lane: it.lane}
	for i, name := range it.files() {
		p := Part{Name: name, Size: it.size}
		if i == 1 {
			p.Size = it.manifest
		}
		if it.sums != nil {
			p.SHA256 = it.sums[i]
		}
		o.Parts = append(o.Parts, p)
	}
	return o
}

// hour is what one hour folder holds. There are as many in memory as on the card.
type hour struct {
	name  string
	n     int   // objects
	clips int   // of these
	bytes int64 // of all files
	names uint64
	whose whose
	first string // the oldest object, if that is known
}

// nameSum of a folder is the sum of its files' hashes, foreign ones left out: it
// says cheaply whether a folder is what it was.
func nameSum(file string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(file))
	return h.Sum64()
}

// tree counts what is below one folder of hour folders.
type tree struct {
	hours []hour // by name, none empty
	n     int
	bytes int64
}

func hourName(h hour, name string) int { return strings.Compare(h.name, name) }

// at returns the hour of that name, zero if there is none.
func (t *tree) at(name string) hour {
	if i, ok := slices.BinarySearchFunc(t.hours, name, hourName); ok {
		return t.hours[i]
	}
	return hour{name: name}
}

// set replaces an hour.
func (t *tree) set(h hour) {
	i, ok := slices.BinarySearchFunc(t.hours, h.name, hourName)
	if !ok {
		t.hours = slices.Insert(t.hours, i, hour{name: h.name})
	}
	t.n += h.n - t.hours[i].n
	t.bytes += h.bytes - t.hours[i].bytes
	t.hours[i] = h
	if h.n <= 0 {
		t.n -= h.n
		t.bytes -= h.bytes
		t.hours = slices.Delete(t.hours, i, i+1)
	}
}

// count adds (sign 1) or takes away (-1) an object with these files. It returns
// how many bytes there are more.
func (t *tree) count(sign int, name string, files []string, bytes int64) int64 {
	before := t.bytes
	h := t.at(hourOf(name))
	switch {
	case sign > 0 && (h.n == 0 || name < h.first):
		h.first = name
	case name == h.first:
		h.first = ""
	}
	if sign > 0 {
		h.whose = unknown
	}
	h.n += sign
	if isClip(name) {
		h.clips += sign
	}
	h.bytes += int64(sign) * bytes
	for _, f := range files {
		h.names += uint64(int64(sign)) * nameSum(f)
	}
	t.set(h)
	return t.bytes - before
}

// The trees: the lanes' folders come first, by number.
const (
	treeUploaded = int(Backfill) // below pending/ there is no backfill
	treeDropped  = treeUploaded + 1
	trees        = treeDropped + 1
)

// window is how many waiting objects of a lane are in memory; those that are
// lent or set aside add to it, up to maxAside.
const (
	window   = 512
	maxAside = 4096
)

// lane is the head of a queue; what is not in it lies on the card alone.
type lane struct {
	items []*item // order of Commit, or of names as far as they were read from the card
	more  bool    // the card may hold some that are not in items
}

// index counts what the card holds and knows what goes next. It does no locking.
type index struct {
	trees  [trees]tree
	lanes  [4]lane
	byName map[string]*item // all in lanes
}

func newIndex() index { return index{byName: map[string]*item{}} }

// enter adds a new item at the end of its lane: to what is in memory, or only to
// what is on the card if that is not all in memory. A lane of routine objects
// keeps the newest: what it leaves behind is backlog.
func (x *index) enter(it *item) {
	l := &x.lanes[it.lane]
	if it.lane != Routine && (l.more || len(l.items) >= window) {
		l.more = true
		return
	}
	x.push(it)
	if len(l.items) <= window {
		return
	}
	if i := slices.IndexFunc(l.items, func(it *item) bool { return !it.lent && !it.first }); i >= 0 {
		x.drop(l.items[i])
		x.lanes[Backfill].more = true
	}
}

func (x *index) push(it *item) {
	x.byName[it.name] = it
	x.lanes[it.lane].items = append(x.lanes[it.lane].items, it)
}

// drop takes an item out of memory.
func (x *index) drop(it *item) {
	if x.byName[it.name] != it {
		return
	}
	delete(x.byName, it.name)
	l := &x.lanes[it.lane]
	if i := slices.Index(l.items, it); i >= 0 {
		l.items = removeAt(l.items, i)
	}
}

// removeAt is cheap at the front, where nearly all removals are.
func removeAt(s []*item, i int) []*item {
	if i == 0 {
		s[0] = nil
		return s[1:]
	}
	return slices.Delete(s, i, i+1)
}

// offer finds the most urgent item that may be lent at now. fill says that a
// lane must be read from the card first; else, without an item, wait says how
// long until one becomes ready (0: nothing is due by itself).
func (x *index) offer(now time.Time) (it *item, fill bool, wait time.Duration) {
	for i := range x.lanes {
		l := &x.lanes[i]
		for _, it := range l.items {
			if it.lent {
				continue
			}
			d := it.ready.Sub(now)
			if d <= 0 {
				return it, false, 0
			}
			if wait == 0 || d < wait {
				wait = d
			}
		}
		if l.more && len(l.items) < maxAside {
			return &item{lane: Lane(i)}, true, 0
		}
	}
	return nil, false, wait
}

// waiting sums up the lanes' trees.
func (x *index) waiting() (n int, bytes int64) {
	for _, t := range x.trees[:treeUploaded] {
		n += t.n
		bytes += t.bytes
	}
	return n, bytes
}

// oldest is the start of the oldest item that waits; of its hour, if that item is
// not in memory and not known.
func (x *index) oldest() (t time.Time) {
	hour, name := "", ""
	for i := range x.trees[:treeUploaded] {
		if h := x.trees[i].hours; len(h) > 0 && (hour == "" || h[0].name < hour) {
			hour = h[0].name
		}
	}
	if hour == "" {
		return t
	}
	older := func(n string) {
		if n != "" && hourOf(n) == hour && (name == "" || n < name) {
			name = n
		}
	}
	for i := range x.trees[:treeUploaded] {
		older(x.trees[i].at(hour).first)
	}
	for _, l := range x.lanes {
		if len(l.items) > 0 {
			older(l.items[0].name)
		}
	}
	if t, err := startOf(name); err == nil {
		return t
	}
	t, _ = time.Parse(hourLayout, hour)
	return t
}
