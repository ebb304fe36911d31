package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
)

// rebind begins the numbers of a new binding; what belongs to the one before is
// not told any more. It tells whether there is another one than before.
func (s *clipStore) rebind() (another bool) {
	_, bindID, bound := s.binding.Binding()
	another = s.tenure.set(bindID)
	err := s.key.rebind(bindID)
	if bound {
		s.gaps.rebind(bindID)
		err = errors.Join(err, s.chains.begin(bindID))
	} else {
		err = errors.Join(err, s.given.forget(func(string, string) bool { return true }))
	}
	if err != nil {
		s.health.set("records", err.Error())
	}
	return another
}

// tend does what the card needs now and then, and first of all what it needs when
// it has just been taken hold of.
func (s *clipStore) tend(fresh bool) error {
	return errors.Join(s.recover(fresh), s.tellGaps(), s.chains.tidy())
}

// recover closes what a power cut left open on the card. Of a card that has just
// been taken hold of, the chains are compared with what it tells. R3.
func (s *clipStore) recover(fresh bool) error {
	_, bindID, bound := s.binding.Binding()
	s.compared = s.compared && !fresh
	if bound && (!s.compared || s.chains.isLost()) {
		if err := s.restore(bindID); err != nil {
			return err
		}
		s.compared = true
	}
	if !fresh && !s.cuts.over() {
		return nil
	}
	if fresh || s.strange == nil {
		s.strange = map[string]writer{}
	}
	var errs error
	for _, u := range s.card.Unfinished() {
		if s.run.isOpen(u.Name) {
			continue
		}
		frames, err := 0, error(nil)
		by := s.writerOf(u)
		delete(s.strange, u.Name)
		switch by {
		case byUs:
			frames, err = s.finish(u)
		case byNobody:
			err = s.card.Discard(u.Name)
		default:
			s.strange[u.Name] = by
			continue
		}
		if err == nil {
			s.run.forget(u.Name)
			s.log().Info("a clip that was cut", zap.String("clip", u.Name), zap.Int("frames_kept", frames))
		}
		errs = errors.Join(errs, err)
	}
	if fresh {
		errs = errors.Join(errs, s.tidyGiven())
	}
	s.cuts.note(errs)
	return errs
}

func (s *clipStore) log() *zap.Logger { return s.health.log }

// finish trims a clip of ours to what is whole, and closes it as cut. One of which no
// note is true is removed.
func (s *clipStore) finish(u spool.Unfinished) (frames int, err error) {
	head, last, size, sum, err := s.whole(u)
	if err != nil {
		return 0, err
	}
	if last.Frames == 0 {
		return 0, s.card.Discard(u.Name)
	}
	to, err := seal.ParseRecipients(s.binding.Recipients(cloud.Clips))
	if err != nil {
		return 0, err
	}
	file, err := s.card.Finish(u.Name, size)
	if err != nil {
		return 0, err
	}
	if file.SHA256() != sum {
		return 0, errors.Join(fmt.Errorf("clip %s is another one than a moment ago", u.Name), file.Leave())
	}
	d := &head.Details
	d.Frames, d.LastFrame, d.DurationMS, d.Cut = last.Frames, last.Last, last.MS, !last.End
	d.Trigger, d.Event = last.Trigger, last.Event
	if err = s.commit(file, u.Name, head, lane(last.Urgent), to); err != nil {
		err = errors.Join(err, file.Leave()) // until it can be signed
	}
	return last.Frames, err
}

// whole tells up to which byte a cut clip is whole, and which fragment is the last
// that is wholly in it; none if its Frames is 0. It believes what the journal key
// vouches for alone; sum is the file's up to size.
func (s *clipStore) whole(u spool.Unfinished) (head clipHead, last clipNote, size int64, sum [sha256.Size]byte, err error) {
	readNote(u.Notes[0], &head)
	var notes []clipNote
	for _, line := range u.Notes[1:] {
		var n clipNote
		if !readNote(line, &n) {
			break
		}
		notes = append(notes, n)
	}
	f, err := s.card.OpenUnfinished(u.Name)
	if err != nil {
		return head, last, 0, sum, err
	}
	defer f.Close()
	notes = s.run.synced(u.Name, notes)
	told, sum, err := s.vouched(u, notes, f)
	if err == nil && told < len(notes) {
		s.log().Warn("a clip that was cut is not as its journal tells: the card has failed, or somebody has changed it",
			zap.String("clip", u.Name), zap.Int("fragments_synced", len(notes)), zap.Int("fragments_true", told))
	}
	if err != nil || told == 0 {
		return head, last, 0, sum, err
	}
	notes = notes[:told]
	newest := notes[told-1]
	if newest.End {
		return head, newest, newest.Size, sum, nil
	}
	// Beyond what was synced may be anything; what was synced ends with a whole chunk.
	size, plain, err := seal.Whole(upTo{f, newest.Size})
	if errors.Is(err, seal.ErrNotSealed) || err == nil && size != newest.Size {
		return head, last, 0, sum, nil
	}
	for _, n := range notes {
		if n.Plain <= plain {
			last = n
		}
	}
	return head, last, size, sum, err
}

// upTo is a file of which no more than size bytes count.
type upTo struct {
	io.ReadSeeker
	size int64
}

func (u upTo) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return u.ReadSeeker.Seek(u.size+offset, io.SeekStart)
	}
	return u.ReadSeeker.Seek(offset, whence)
}

// recentNames is how many of the newest objects are looked at to see whether the
// card is further than the chains; all are, if those are lost.
const recentNames = 100

// restore compares the chains with what the card tells of them. That they were
// wrong is a condition until the next start.
func (s *clipStore) restore(bindID string) error {
	heads := map[string]command.ChainHead{}
	q := spool.Query{Limit: recentNames}
	for more := true; more; {
		list, err := s.card.List(q)
		if err != nil {
			return err
		}
		for _, e := range list {
			s.readHead(e.Name, bindID, heads)
			q.Before = e.Name
		}
		more = s.chains.isLost() && len(list) > 0
		q.Limit = 1000
	}
	if err := s.chains.restore(bindID, heads); err != nil {
		s.health.set("chain", err.Error())
	}
	if s.chains.isLost() {
		return errors.New("the numbers of clips can't be restored")
	}
	return nil
}

// readHead takes one object of the card into the heads, if it is a statement of
// this binding.
func (s *clipStore) readHead(name, bindID string, heads map[string]command.ChainHead) {
	name = statementFile(name)
	if !strings.HasSuffix(name, cloud.ExtManifest) { // a gap's ending is one, too
		return
	}
	token, err := s.readSmall(name)
	if err != nil {
		s.log().Warn("a statement on the card can't be read", zap.String("object", name), zap.Error(err))
		return
	}
	head, stream, n, err := s.readStatement(token)
	if err == nil && head.BindID == bindID && n > heads[stream].Sequence {
		heads[stream] = command.ChainHead{Sequence: n, Hash: seal.Hash(token)}
	}
}

// statementFile is where the statement of an object lies: a clip's manifest, or a gap.
func statementFile(name string) string {
	if len(name) == cloud.ClipNameLen {
		return name + cloud.ExtManifest
	}
	return name
}

func (s *clipStore) readSmall(name string) (string, error) {
	f, err := s.card.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, seal.MaxStatement+1))
	if err == nil && len(b) > seal.MaxStatement {
		err = fmt.Errorf("larger than %d bytes", seal.MaxStatement)
	}
	return string(b), err
}
