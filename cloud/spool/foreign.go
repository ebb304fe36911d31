package spool

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path/filepath"

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

// isForeign tells whether an object that waits in a tree is somebody else's, by
// its manifest. Without one that can be read it is taken for ours.
func (s *Spool) isForeign(t int, name string) bool {
	if s.cfg.Owner == nil || !isClip(name) && !isGap(name) {
		return false
	}
	owner, sum := s.askOwner(), nameSum(name)
	s.mu.Lock()
	known := s.foreign[sum]
	it := s.x.byName[name]
	measured := it != nil && it.sums != nil // it was recorded, or looked at, since the card came
	s.mu.Unlock()
	if known || measured {
		return known
	}
	file := name
	if isClip(name) {
		file += extManifest
	}
	token, err := s.readAll(filepath.Join(s.hourPath(t, name), file), maxManifest)
	head, ok := StatementOf(token)
	if err != nil || !ok || head.Serial == owner.Serial && head.BindID == owner.BindID {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.foreign[sum] = true
	return true
}

// askOwner asks whose camera this is; with another owner all is looked at again.
func (s *Spool) askOwner() (owner Owner) {
	if s.cfg.Owner == nil {
		return owner
	}
	owner = s.cfg.Owner()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != owner {
		s.owner, s.foreign = owner, map[uint64]bool{}
		for i := range treeUploaded {
			s.refillLocked(i)
		}
	}
	return owner
}

// setForeign takes an item out of the queue for good.
func (s *Spool) setForeign(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x.drop(it)
}
