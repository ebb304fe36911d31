package spool

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"iid2secure.nl/camagent/cloud"
)

// A card may come from another camera, or hold what was recorded for an owner
// before. Such objects are left alone: they are neither offered nor given up
// while they wait, for under our name they would be lost to their owner.

// Owner is for whom a camera records now.
type Owner struct {
	Serial cloud.Serial
	BindID string // empty: nobody
}

// StatementOf reads what a manifest or a gap says of its signer, without a look
// at the signature; not ok if it is no statement.
func StatementOf(token []byte) (head cloud.Statement, ok bool) {
	return head, payloadOf(token, &head) && head.Serial != ""
}

// payloadOf decodes the payload of a signed statement.
func payloadOf(token []byte, to any) bool {
	_, rest, _ := bytes.Cut(token, []byte{'.'})
	payload, _, signed := bytes.Cut(rest, []byte{'.'})
	raw, err := base64.RawURLEncoding.DecodeString(string(payload))
	return signed && err == nil && json.Unmarshal(raw, to) == nil
}

// whose tells of the objects of an hour folder together.
type whose uint8

const (
	unknown whose = iota // not all were looked at, or they are of several
	ours
	others
)

// signer is for whom an object was recorded, as its statement says; without one, for
// whom the camera records now.
func (s *Spool) signer(statement []byte) *Owner {
	by := s.askOwner()
	if head, ok := StatementOf(statement); ok {
		by = Owner{head.Serial, head.BindID}
	}
	return &by
}

// isForeign tells whether an object in a tree is somebody else's, by its statement.
// Without one it is taken for ours. An error: that can't be read now.
func (s *Spool) isForeign(t int, name string) (bool, error) {
	foreign, _, err := s.lookAt(t, name)
	return foreign, err
}

// lookAt is isForeign; learned tells that nobody knew yet that it is somebody else's.
func (s *Spool) lookAt(t int, name string) (foreign, learned bool, err error) {
	if s.cfg.Owner == nil {
		return false, false, nil
	}
	owner, sum := s.askOwner(), nameSum(name)
	s.mu.Lock()
	it := s.x.byName[name]
	known, of := t < treeUploaded && s.foreign[sum], s.x.trees[t].at(hourOf(name)).whose
	by := Owner{}
	if it != nil && it.by != nil {
		by = *it.by
	}
	s.mu.Unlock()
	switch {
	case known || of == others:
		return true, false, nil
	case by != Owner{}:
		foreign = by != owner
	case of == ours || !isClip(name) && !isGap(name):
		return false, false, nil
	default:
		token, err := s.readStatement(t, name)
		if err != nil {
			return false, false, err
		}
		head, ok := StatementOf(token)
		by = Owner{head.Serial, head.BindID}
		foreign = ok && by != owner
		if !ok {
			return false, false, nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.x.byName[name]; it != nil && it.by == nil && t < treeUploaded {
		it.by = &by
	}
	if foreign && t < treeUploaded && s.owner == owner {
		s.foreign[sum] = true
	}
	return foreign, foreign, nil
}

// readStatement reads the manifest or gap of an object; nothing if it has none.
func (s *Spool) readStatement(t int, name string) ([]byte, error) {
	file := name
	if isClip(name) {
		file += extManifest
	}
	token, err := s.readAll(filepath.Join(s.hourPath(t, name), file), maxManifest)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOdd) {
		return nil, nil
	}
	return token, err
}

// theirs picks the objects of an hour that are somebody else's, or of which that
// can't be told now. learned counts those of which nobody knew it yet. The caller
// holds card.
func (s *Spool) theirs(t int, hour string, entries []entry) (out map[string]bool, learned int) {
	if s.cfg.Owner == nil {
		return nil, 0
	}
	out = map[string]bool{}
	sure := true
	owner := s.askOwner()
	for _, e := range entries {
		path := filepath.Join(s.hourPath(t, e.name), e.name)
		if s.isAside(path) {
			out[e.name], sure = true, false
			continue
		}
		foreign, news, err := s.lookAt(t, e.name)
		if err != nil {
			s.setAside(path, err)
			sure = false
		}
		if foreign || err != nil {
			out[e.name] = true
		}
		if news {
			learned++
		}
	}
	if sure {
		s.settleWhose(t, hour, entries, len(out), owner)
	}
	return out, learned
}

// settleWhose remembers of an hour whose objects are all ours or all others', so that
// nothing has to be kept of each.
func (s *Spool) settleWhose(t int, hour string, entries []entry, foreign int, owner Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.x.trees[t].at(hour)
	if s.owner != owner || h.n != len(entries) || h.n == 0 {
		return
	}
	switch foreign {
	case 0:
		h.whose = ours
	case len(entries):
		h.whose = others
		for _, e := range entries {
			delete(s.foreign, nameSum(e.name))
		}
	default:
		return
	}
	s.x.trees[t].set(h)
}

// arrive enters an object into the books of a tree. The caller holds mu.
func (s *Spool) arrive(t int, it *item) {
	was := s.x.trees[t].at(hourOf(it.name))
	s.count(t, 1, it.name, it.files(), it.bytes())
	h := s.x.trees[t].at(hourOf(it.name))
	switch mine := it.by == nil || *it.by == s.owner; {
	case mine && (was.n == 0 || was.whose == ours):
		h.whose = ours
	case !mine && was.n == 0:
		h.whose = others
	case !mine || was.whose != others:
		h.whose = unknown
	default: // of each of the others is to be known again that it is theirs
		h.whose = unknown
		s.refillLocked(t)
	}
	s.x.trees[t].set(h)
}

// foreignLocked counts what waits and is somebody else's. The caller holds mu.
func (s *Spool) foreignLocked() int {
	n := len(s.foreign)
	for _, t := range s.x.trees[:treeUploaded] {
		for _, h := range t.hours {
			if h.whose == others {
				n += h.n
			}
		}
	}
	return n
}

// askOwner asks whose camera this is; with another owner all is looked at again.
func (s *Spool) askOwner() (owner Owner) {
	if s.cfg.Owner == nil {
		return owner
	}
	owner = s.cfg.Owner()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == owner {
		return owner
	}
	s.owner, s.foreign = owner, map[uint64]bool{}
	for t := range s.x.trees {
		for i := range s.x.trees[t].hours {
			s.x.trees[t].hours[i].whose = unknown
		}
	}
	for t := range treeUploaded {
		s.refillLocked(t)
	}
	// What the card tells the owner of is read from it again, in its order. Of a
	// picture it does not.
	for i := range s.x.lanes {
		for _, it := range slices.Clone(s.x.lanes[i].items) {
			if !it.lent && (isClip(it.name) || isGap(it.name)) {
				s.x.drop(it)
			}
		}
	}
	s.wakeLocked()
	return owner
}

// setForeign takes an item out of the queue for good.
func (s *Spool) setForeign(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x.drop(it)
}
