package agent

import (
	"path/filepath"
	"sync"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/durable"
)

// chains keeps the heads of the manifest chains, one a stream, in the state
// folder; they belong to one binding. The head moves, durably, before the clip
// is committed: a clip that is lost between the two shows as missing, which it
// is, and no sequence is ever used twice.
type chains struct {
	path string

	mu    sync.Mutex
	state chainState
}

type chainState struct {
	BindID string                       `json:"bind_id"`
	Heads  map[string]command.ChainHead `json:"heads"`
}

func openChains(dir string) (*chains, error) {
	c := &chains{path: filepath.Join(dir, "chains.json")}
	_, err := durable.ReadJSON(c.path, &c.state)
	return c, err
}

// next tells the sequence and the previous hash of the manifest to come.
func (c *chains) next(bindID, stream string) (sequence uint64, prev string) {
	h := c.heads(bindID)[stream]
	return h.Sequence + 1, h.Hash
}

func (c *chains) advance(bindID, stream string, head command.ChainHead) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := chainState{BindID: bindID, Heads: map[string]command.ChainHead{stream: head}}
	if c.state.BindID == bindID {
		for s, h := range c.state.Heads {
			if s != stream {
				next.Heads[s] = h
			}
		}
	}
	if err := durable.WriteJSON(c.path, next); err != nil {
		return err
	}
	c.state = next
	return nil
}

// heads returns the heads of one binding; another one's are none.
func (c *chains) heads(bindID string) map[string]command.ChainHead {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]command.ChainHead{}
	if c.state.BindID == bindID {
		for s, h := range c.state.Heads {
			out[s] = h
		}
	}
	return out
}
