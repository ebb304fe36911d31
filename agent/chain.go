package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/durable"
)

// chains keeps the heads of the chains of manifests and gaps, one a stream, in
// the state folder; they belong to one binding. The head moves, durably, before
// what was signed is put on the card, and the name of what was signed stays until
// the card is known to have it: a number that a cut took is found at the next
// start and told of, and no number is ever used twice.
type chains struct {
	path string

	mu     sync.Mutex
	state  chainState
	lost   error           // the file is lost: there are no numbers until restore
	flying map[number]bool // signed, and on its way to the card
	failed map[number]bool // signed in this run, and the card has not taken it
	unsaid map[string]bool // names that have arrived, of which the file does not tell yet
	card   func() string   // id of the card that is in the camera; nil: not known
	dirty  time.Time       // since when the file tells of numbers that have arrived; zero: it does not
}

type chainState struct {
	BindID string                       `json:"bind_id"`
	Heads  map[string]command.ChainHead `json:"heads"`
	Open   []number                     `json:"open,omitempty"` // signed, and not known to be on the card
}

// number is a number of a chain, and the name that was signed with it.
type number struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	Name     string `json:"name"`           // as the card calls it
	Card     string `json:"card,omitempty"` // on which it was to lie
}

// openChains reads the file. If it is damaged, or is missing although the camera
// has been bound before (bindID), there are no numbers until restore.
func openChains(dir, bindID string) (*chains, error) {
	c := &chains{path: filepath.Join(dir, "chains.json"), flying: map[number]bool{}, failed: map[number]bool{}, unsaid: map[string]bool{}}
	found, err := durable.ReadJSON(c.path, &c.state)
	var io *fs.PathError
	switch {
	case errors.As(err, &io):
		return nil, err
	case err != nil:
		c.state, c.lost = chainState{}, err
	case !found && bindID != "":
		c.lost = fmt.Errorf("%s is missing", c.path)
	}
	return c, nil
}

// begin makes the file of a new binding, so that one that is missing later is
// known to be lost.
func (c *chains) begin(bindID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil || c.state.BindID == bindID || bindID == "" {
		return nil
	}
	return c.write(chainState{BindID: bindID})
}

// sign makes the next statement of a stream's chain; build gets its number and
// the hash of the one before. What becomes of it is told by done.
func (c *chains) sign(bindID, stream, name string, build func(sequence uint64, prev string) (token, hash string, err error)) (token string, n number, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return "", n, fmt.Errorf("the numbers of clips are lost, and no card is there to tell them: %w", c.lost)
	}
	next := c.copyOf(bindID)
	head := next.Heads[stream]
	n = number{Stream: stream, Sequence: head.Sequence + 1, Name: name}
	if c.card != nil {
		n.Card = c.card()
	}
	token, hash, err := build(n.Sequence, head.Hash)
	if err != nil {
		return "", n, err
	}
	next.Heads[stream] = command.ChainHead{Sequence: n.Sequence, Hash: hash}
	next.Open = append(next.Open, n)
	if err := c.write(next); err != nil {
		return "", n, err
	}
	c.flying[n] = true
	return token, n, nil
}

// done says whether the card has what was signed.
func (c *chains) done(n number, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flying, n)
	if err != nil {
		c.failed[n] = true
		return
	}
	c.settle(n)
}

// told: a gap on the card tells of these numbers, or they are there after all.
func (c *chains) told(list []number) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range list {
		delete(c.failed, n)
		c.settle(n)
	}
	return c.write(c.state)
}

// settle forgets the name, in memory; the file follows with the next number, or
// with tidy. The caller holds mu.
func (c *chains) settle(n number) {
	if i := slices.Index(c.state.Open, n); i >= 0 {
		c.state.Open = slices.Delete(slices.Clone(c.state.Open), i, i+1)
		c.unsaid[n.Name] = true
		if c.dirty.IsZero() {
			c.dirty = time.Now()
		}
	}
}

// tidyAfter is how long the file may tell of numbers that have arrived: while
// something is recorded, the next number spares a write.
const tidyAfter = 30 * time.Second

// tidy writes the file if nothing else does.
func (c *chains) tidy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirty.IsZero() || time.Since(c.dirty) < tidyAfter || c.lost != nil {
		return nil
	}
	return c.write(c.state)
}

// leaving has the file tell that something has arrived before the card removes it:
// else the next start would take it for lost.
func (c *chains) leaving(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unsaid[name] || c.lost != nil {
		return nil
	}
	return c.write(c.state)
}

// missing lists the numbers of a binding that were signed and are not on their
// way; failed tells which of them the card did not take in this run.
func (c *chains) missing(bindID string) (list []number, failed map[number]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed = map[number]bool{}
	if c.state.BindID != bindID {
		return nil, failed
	}
	for _, n := range c.state.Open {
		if !c.flying[n] {
			list = append(list, n)
			failed[n] = c.failed[n]
		}
	}
	return list, failed
}

// restore takes what the card tells of a binding's chains where it is further
// than the file. It returns what was wrong with the file; nil if it was right.
func (c *chains) restore(bindID string, card map[string]command.ChainHead) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := c.lost
	next := c.copyOf(bindID)
	for stream, h := range card {
		if have := next.Heads[stream]; h.Sequence > have.Sequence {
			if lost == nil {
				lost = fmt.Errorf("%s ends at number %d of %s, the card at %d", c.path, have.Sequence, stream, h.Sequence)
			}
			next.Heads[stream] = h
		}
	}
	if lost == nil {
		return nil
	}
	if err := c.write(next); err != nil {
		return err
	}
	c.lost = nil
	return fmt.Errorf("the numbers of clips were lost, and go on from what the card tells: verify may find numbers missing, or twice: %w", lost)
}

// isLost tells whether restore is needed before anything can be signed.
func (c *chains) isLost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost != nil
}

// copyOf is the state of a binding, to be changed; a new binding begins anew.
// The caller holds mu.
func (c *chains) copyOf(bindID string) chainState {
	next := chainState{BindID: bindID, Heads: map[string]command.ChainHead{}}
	if c.state.BindID == bindID {
		for s, h := range c.state.Heads {
			next.Heads[s] = h
		}
		next.Open = slices.Clone(c.state.Open)
	}
	return next
}

// write makes the state durable, then current. The caller holds mu.
func (c *chains) write(next chainState) error {
	if err := durable.WriteJSON(c.path, next); err != nil {
		return err
	}
	c.state, c.dirty = next, time.Time{}
	clear(c.unsaid)
	return nil
}

// heads returns the heads of one binding; another one's are none.
func (c *chains) heads(bindID string) map[string]command.ChainHead {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copyOf(bindID).Heads
}
