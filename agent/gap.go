package agent

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/media/clip"
)

// What is missing is signed, never a silence: gaps collects what could not be, or
// was not to be, recorded, durably, until a signed record of it is on the card.
// Records are statements of the stream's chain, numbered as manifests are.
type gaps struct {
	path string
	now  func(time.Time) time.Time // the wall-clock of a moment
	boot string
	warn func(error) // the state folder can't be written to

	mu    sync.Mutex
	state gapState
	heard map[gapKey]time.Time // when an ended one was last added to
}

type gapState struct {
	BindID string   `json:"bind_id"`
	Open   []missed `json:"open,omitempty"`  // goes on
	Ended  []missed `json:"ended,omitempty"` // to be signed
}

// missed is a span of time in which nothing was recorded.
type missed struct {
	gapKey
	From       time.Time `json:"from"`
	To         time.Time `json:"to,omitzero"`
	Boot       string    `json:"boot"`
	FirstFrame uint64    `json:"first_frame,omitempty"`
	LastFrame  uint64    `json:"last_frame,omitempty"`
}

type gapKey struct {
	Stream string          `json:"stream"`
	Reason cloud.GapReason `json:"reason"`
}

// Many gaps in a short time become one record: those that follow within
// mergeWithin of each other, told when nothing more has come for gapQuiet, or
// after gapLongest.
const (
	mergeWithin = time.Minute
	gapQuiet    = 10 * time.Second
	gapLongest  = time.Minute
)

// openGaps reads what is still to be told. A file that is damaged is as none.
func openGaps(dir, boot string, now func(time.Time) time.Time, warn func(error)) *gaps {
	g := &gaps{path: filepath.Join(dir, "gaps.json"), now: now, boot: boot, warn: warn, heard: map[gapKey]time.Time{}}
	if _, err := durable.ReadJSON(g.path, &g.state); err != nil {
		g.state = gapState{}
		warn(err)
	}
	return g
}

// rebind drops what belongs to another binding.
func (g *gaps) rebind(bindID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.BindID != bindID {
		g.state = gapState{BindID: bindID}
	}
}

// begin: from at on nothing is recorded.
func (g *gaps) begin(stream string, reason cloud.GapReason, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if key := (gapKey{stream, reason}); g.find(key) < 0 {
		g.state.Open = append(g.state.Open, missed{gapKey: key, From: g.now(at), Boot: g.boot})
		g.write()
	}
}

// end: what began goes on no more. Without a begin it does nothing.
func (g *gaps) end(stream string, reason cloud.GapReason, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := g.find(gapKey{stream, reason}); i >= 0 {
		m := g.state.Open[i]
		g.state.Open = slices.Delete(g.state.Open, i, i+1)
		m.To = later(m.From, g.now(at))
		g.add(m)
	}
}

// goesOn tells whether something has begun and not ended.
func (g *gaps) goesOn(stream string, reason cloud.GapReason) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.find(gapKey{stream, reason}) >= 0
}

// missed: the recorder tells, when it works again, of pictures that are in no clip.
func (g *gaps) missed(m clip.Miss) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := gapKey{m.Stream, cloud.GapCard}
	out := missed{gapKey: key, From: g.now(m.From), Boot: g.boot, FirstFrame: m.FirstFrame, LastFrame: m.LastFrame}
	out.To = later(out.From, g.now(m.To))
	if i := g.find(key); i >= 0 {
		if was := g.state.Open[i]; was.Boot != g.boot { // since before a restart
			out.From = earlier(was.From, out.From)
		}
		g.state.Open = slices.Delete(g.state.Open, i, i+1)
	}
	g.add(out)
}

// recorded: a clip that began at wall-clock time at is on the card. A failure of
// this run has been told as missed pictures, or has cost none; one from before a
// restart ends here.
func (g *gaps) recorded(stream string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.find(gapKey{stream, cloud.GapCard})
	if i < 0 {
		return
	}
	m := g.state.Open[i]
	g.state.Open = slices.Delete(g.state.Open, i, i+1)
	if m.Boot == g.boot {
		g.write()
		return
	}
	m.To = later(m.From, at)
	g.add(m)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (g *gaps) find(key gapKey) int {
	return slices.IndexFunc(g.state.Open, func(m missed) bool { return m.gapKey == key })
}

// add puts an ended span to those that are to be told. The caller holds mu.
func (g *gaps) add(m missed) {
	g.heard[m.gapKey] = time.Now()
	if i := slices.IndexFunc(g.state.Ended, func(have missed) bool { return have.takes(m) }); i >= 0 {
		g.state.Ended[i] = g.state.Ended[i].with(m)
	} else {
		g.state.Ended = append(g.state.Ended, m)
	}
	g.write()
}

// maxGaps bounds what waits; beyond it spans are merged whatever lies between.
const maxGaps = 64

func (m missed) takes(n missed) bool {
	return m.gapKey == n.gapKey && m.Boot == n.Boot && n.From.Sub(m.To) < mergeWithin && m.From.Sub(n.To) < mergeWithin &&
		later(m.To, n.To).Sub(earlier(m.From, n.From)) < 24*time.Hour
}

func (m missed) with(n missed) missed {
	m.From, m.To = earlier(m.From, n.From), later(m.To, n.To)
	if n.LastFrame > 0 && m.LastFrame > 0 {
		m.FirstFrame, m.LastFrame = min(m.FirstFrame, n.FirstFrame), max(m.LastFrame, n.LastFrame)
	}
	return m
}

// due lists what is to be told now.
func (g *gaps) due() (out []missed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now(time.Now())
	for _, m := range g.state.Ended {
		quiet := time.Since(g.heard[m.gapKey]) >= gapQuiet // of an earlier run: at once
		if quiet || now.Sub(m.To) >= gapLongest || len(g.state.Ended) >= maxGaps {
			out = append(out, m)
		}
	}
	return out
}

// told: a record of m is on the card.
func (g *gaps) told(m missed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.state.Ended, m); i >= 0 {
		g.state.Ended = slices.Delete(g.state.Ended, i, i+1)
		g.write()
	}
}

// write makes the state durable; what fails is tried again with the next change.
// The caller holds mu.
func (g *gaps) write() {
	if err := durable.WriteJSON(g.path, g.state); err != nil {
		g.warn(err)
	}
}

// record signs a gap and puts it on the card.
func (s *clipStore) record(stream string, reason cloud.GapReason, missing []cloud.Span, details cloud.GapDetails) error {
	head, texts, err := s.statement()
	if err != nil {
		return err
	}
	to, err := seal.ParseRecipients(texts)
	if err != nil {
		return err
	}
	details.Clock = s.clock.Trust()
	sealed, err := sealDetails(details, to)
	if err != nil {
		return err
	}
	name := cloud.ClipName(s.clock.Now())
	file := name + cloud.ExtGap
	token, n, err := s.chains.sign(head.BindID, stream, file, func(sequence uint64, prev string) (string, string, error) {
		return signed(cloud.TypGap, s.id, cloud.Gap{Statement: head, Stream: stream, Sequence: sequence, Name: name,
			Prev: prev, Reason: reason, Missing: missing, Details: sealed})
	})
	if err != nil {
		return err
	}
	_, err = s.card.Add(file, spool.Routine, []byte(token))
	s.chains.done(n, err)
	return err
}

// patience spares numbers of the chain, of which every try takes one, when the
// card takes no record. Not for several goroutines.
type patience struct {
	wait  time.Duration
	until time.Time
}

const (
	patienceLeast = 10 * time.Second
	patienceMost  = 10 * time.Minute
)

func (p *patience) over() bool { return !time.Now().Before(p.until) }

func (p *patience) note(err error) {
	if err == nil {
		*p = patience{}
		return
	}
	p.wait = min(max(2*p.wait, patienceLeast), patienceMost)
	p.until = time.Now().Add(p.wait)
}

// tellGaps signs what has been missed, what the card has given up, and the
// numbers that never reached it.
func (s *clipStore) tellGaps() error {
	_, bindID, bound := s.binding.Binding()
	if !bound || s.chains.isLost() || !s.patience.over() {
		return nil
	}
	s.gaps.rebind(bindID)
	err := s.tellNumbers(bindID)
	if err == nil {
		err = s.tellMissed()
	}
	if err == nil {
		err = s.tellDropped()
	}
	s.patience.note(err)
	return err
}

func (s *clipStore) tellMissed() error {
	for _, m := range s.gaps.due() {
		err := s.record(m.Stream, m.Reason, nil, cloud.GapDetails{Boot: m.Boot, From: timeText(m.From), To: timeText(m.To),
			FirstFrame: m.FirstFrame, LastFrame: m.LastFrame})
		if err != nil {
			return err
		}
		s.gaps.told(m)
	}
	return nil
}

// tellNumbers tells of numbers that were signed and whose clip or gap is not on
// the card on which they were to lie; of another card nothing can be said. Those of this run the card has refused, those of an earlier one were cut.
func (s *clipStore) tellNumbers(bindID string) error {
	list, failed := s.chains.missing(bindID)
	groups := map[gapKey][]number{}
	var here []number
	for _, n := range list {
		if n.Card != "" && n.Card != s.card.ID() {
			continue // it may lie on the card that was here then
		}
		holds, err := s.holds(n)
		if err != nil {
			return err
		}
		if holds {
			here = append(here, n)
			continue
		}
		key := gapKey{n.Stream, cloud.GapCut}
		if failed[n] {
			key.Reason = cloud.GapCard
		}
		groups[key] = append(groups[key], n)
	}
	for key, group := range groups {
		var numbers []uint64
		from, to := time.Time{}, time.Time{}
		for _, n := range group {
			numbers = append(numbers, n.Sequence)
			from, to = widen(from, to, n.Name)
		}
		if err := s.record(key.Stream, key.Reason, spans(numbers), cloud.GapDetails{Boot: s.clock.Boot(), From: timeText(from), To: timeText(to)}); err != nil {
			return err
		}
		if err := s.chains.told(group); err != nil {
			return err
		}
	}
	if len(here) == 0 {
		return nil
	}
	return s.chains.told(here)
}

// holds tells whether the card has the statement with this number. A clip that was
// cut has another one under the same name. A card that does not answer says nothing.
func (s *clipStore) holds(n number) (bool, error) {
	for _, file := range []string{fileOf(n.Name), statementFile(n.Name)} {
		f, err := s.card.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		f.Close()
	}
	token, err := s.readSmall(statementFile(n.Name))
	if err != nil {
		return false, err
	}
	_, stream, sequence, err := s.readStatement(token)
	return err == nil && stream == n.Stream && sequence == n.Sequence, nil
}

// fileOf is the file of an object: a clip's, or the object itself.
func fileOf(name string) string {
	if len(name) == cloud.ClipNameLen {
		return name + cloud.ExtClip
	}
	return name
}

// widen takes the begin of a clip, by its name, into a span of time.
func widen(from, to time.Time, name string) (time.Time, time.Time) {
	t, err := cloud.ParseClipName(name[:min(len(name), cloud.ClipNameLen)])
	switch {
	case err != nil:
		return from, to
	case from.IsZero():
		return t, t
	}
	return earlier(from, t), later(to, t)
}

// spans writes numbers as runs.
func spans(numbers []uint64) (out []cloud.Span) {
	slices.Sort(numbers)
	for _, n := range slices.Compact(numbers) {
		if k := len(out) - 1; k >= 0 && out[k].To+1 == n {
			out[k].To = n
		} else {
			out = append(out, cloud.Span{From: n, To: n})
		}
	}
	return out
}

// What the card gives up is told when that many clips have been, or after that
// time: a card that is too small gives up one clip for each that comes.
const (
	droppedMany = 200
	droppedWait = time.Minute
)

// tellDropped tells of clips that the card had to give up before the store had them,
// and, as lost, of those that it was not told to give up.
func (s *clipStore) tellDropped() error {
	list, err := s.card.Dropped()
	if err != nil {
		return err
	}
	_, bindID, _ := s.binding.Binding()
	list = slices.DeleteFunc(list, func(d spool.Dropped) bool { // who has signed it tells of it
		head, is := spool.StatementOf(d.Manifest)
		return is && (head.Serial != s.id.Serial || head.BindID != bindID)
	})
	if len(list) == 0 || !s.gaps.ripe(len(list)) {
		return nil
	}
	type lot struct {
		numbers  []uint64
		names    []string
		from, to time.Time
	}
	lots := map[gapKey]*lot{}
	var damaged []string
	for _, d := range list {
		stream, n, ok := s.numberOf(d)
		if !ok {
			damaged = append(damaged, d.Name)
			continue
		}
		key := gapKey{stream, cloud.GapLost}
		if s.given.has(d.Name) {
			key.Reason = cloud.GapRetention
		}
		if lots[key] == nil {
			lots[key] = &lot{}
		}
		l := lots[key]
		l.numbers, l.names = append(l.numbers, n), append(l.names, d.Name)
		l.from, l.to = widen(l.from, l.to, d.Name)
	}
	for key, l := range lots {
		details := cloud.GapDetails{Boot: s.clock.Boot(), From: timeText(l.from), To: timeText(l.to)}
		if err := s.record(key.Stream, key.Reason, spans(l.numbers), details); err != nil {
			return err
		}
		if err := s.card.Forget(l.names...); err != nil {
			return err
		}
		if err := s.given.forget(func(name, _ string) bool { return slices.Contains(l.names, name) }); err != nil {
			return err
		}
	}
	return s.card.Forget(damaged...)
}

// leaving keeps account of what the card is about to remove.
func (s *clipStore) leaving(name string) error {
	err := s.chains.leaving(name)
	if err == nil && len(name) == cloud.ClipNameLen && s.card.Pending(name) {
		err = s.given.add(name, s.card.ID())
	}
	return err
}

// tidyGiven forgets what a card that was just taken hold of was not to lose after all,
// and what the store has got meanwhile.
func (s *clipStore) tidyGiven() error {
	list, err := s.card.Dropped()
	if err != nil {
		return err
	}
	id := s.card.ID()
	return s.given.forget(func(name, card string) bool { return card == id && (len(list) == 0 || s.card.Has(name)) })
}

// ripe tells whether it is time to tell of what the card gives up.
func (g *gaps) ripe(count int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := gapKey{Reason: cloud.GapRetention}
	since, waits := g.heard[key]
	if !waits {
		g.heard[key] = time.Now()
	}
	if count < droppedMany && (!waits || time.Since(since) < droppedWait) {
		return false
	}
	delete(g.heard, key)
	return true
}

// numberOf is the number of what the card has given up; not ok if it is none
// that this binding signed.
func (s *clipStore) numberOf(d spool.Dropped) (stream string, sequence uint64, ok bool) {
	head, stream, sequence, err := s.readStatement(string(d.Manifest))
	_, bindID, _ := s.binding.Binding()
	return stream, sequence, err == nil && head.BindID == bindID
}

// readStatement reads a manifest or a gap that this camera has signed.
func (s *clipStore) readStatement(token string) (head cloud.Statement, stream string, sequence uint64, err error) {
	key, _ := s.id.Signing.Public().(ed25519.PublicKey)
	var m cloud.Manifest
	if err = seal.Verify(cloud.TypManifest, key, token, &m); err == nil {
		return m.Statement, m.Stream, m.Sequence, nil
	}
	var g cloud.Gap
	if seal.Verify(cloud.TypGap, key, token, &g) == nil {
		return g.Statement, g.Stream, g.Sequence, nil
	}
	return head, "", 0, err
}
