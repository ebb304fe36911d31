package spool

import (
	"slices"
	"strings"
	"time"
)

// item is one object in memory. The fields that change are guarded by Spool.mu.
type item struct {
	name     string
	size     int64
	manifest int64        // size of the manifest; -1 without
	notes    int64        // of the journal, while it is open
	sums     *[2][32]byte // of file and manifest; nil: not read since the start
	lane     Lane
	home     Lane // the lane's folder (routine for Backfill)
	lent     bool
	uploaded bool
	ready    time.Time // not to be offered before
}

func (it *item) clip() bool { return len(it.name) == stemLen }

func (it *item) bytes() int64 { return it.size + max(0, it.manifest) + it.notes }

// files lists the item's files in the order in which they are stored and moved.
func (it *item) files() []string {
	if !it.clip() {
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

// index finds items by name, by lane, and by age. It does no locking.
type index struct {
	byName   map[string]*item
	lanes    [4][]*item // order of Commit
	uploaded []*item    // by name, which is by age
	waiting  int64      // bytes in lanes
}

func newIndex() index { return index{byName: map[string]*item{}} }

func byName(it *item, name string) int { return strings.Compare(it.name, name) }

// add enters an item at the end of its lane, or among the uploaded ones.
func (x *index) add(it *item) {
	x.byName[it.name] = it
	if it.uploaded {
		i, _ := slices.BinarySearchFunc(x.uploaded, it.name, byName)
		x.uploaded = slices.Insert(x.uploaded, i, it)
		return
	}
	x.lanes[it.lane] = append(x.lanes[it.lane], it)
	x.waiting += it.bytes()
}

// drop forgets an item.
func (x *index) drop(it *item) {
	if x.byName[it.name] != it {
		return
	}
	delete(x.byName, it.name)
	if it.uploaded {
		if i, ok := slices.BinarySearchFunc(x.uploaded, it.name, byName); ok {
			x.uploaded = removeAt(x.uploaded, i)
		}
		return
	}
	if i := slices.Index(x.lanes[it.lane], it); i >= 0 {
		x.lanes[it.lane] = removeAt(x.lanes[it.lane], i)
		x.waiting -= it.bytes()
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

// confirm moves an item from its lane to the uploaded ones.
func (x *index) confirm(it *item) {
	x.drop(it)
	it.uploaded, it.lent = true, false
	x.add(it)
}

// offer finds the most urgent item that may be lent at now; if there is none,
// wait says how long until one becomes ready (0: nothing is due by itself).
func (x *index) offer(now time.Time) (it *item, wait time.Duration) {
	for _, lane := range x.lanes {
		for _, it := range lane {
			if it.lent {
				continue
			}
			d := it.ready.Sub(now)
			if d <= 0 {
				return it, 0
			}
			if wait == 0 || d < wait {
				wait = d
			}
		}
	}
	return nil, wait
}

// pendingCount counts the items in all lanes.
func (x *index) pendingCount() (n int) {
	for _, lane := range x.lanes {
		n += len(lane)
	}
	return n
}

// oldest is the start of the oldest item that waits.
func (x *index) oldest() (t time.Time) {
	first := ""
	for _, lane := range x.lanes {
		// A lane is nearly in the order of names; its head is old enough to tell.
		if len(lane) > 0 && (first == "" || lane[0].name < first) {
			first = lane[0].name
		}
	}
	if first != "" {
		t, _ = startOf(first)
	}
	return t
}
