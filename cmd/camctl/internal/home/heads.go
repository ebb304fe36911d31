package home

import (
	"fmt"
	"path/filepath"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/durable"
)

const dirHeads = "heads"

// heads is the file of one camera; another binding's are worth nothing.
type heads struct {
	BindID string                       `json:"bind_id"`
	Heads  map[string]command.ChainHead `json:"heads"` // by stream
}

// Heads are the newest heads of the camera's chains that it has ever told here; none
// of an earlier binding.
func (h *Home) Heads(c Camera) (map[string]command.ChainHead, error) {
	var f heads
	path := h.headsPath(c)
	if _, err := durable.ReadJSON(path, &f); err != nil {
		return nil, fmt.Errorf("%s can't be read: what the camera told of its chains before is not known: %w", path, err)
	}
	if f.BindID != c.BindID {
		return map[string]command.ChainHead{}, nil
	}
	return f.Heads, nil
}

// SawHeads keeps what the camera tells of its chains, where it is newer.
func (h *Home) SawHeads(c Camera, told map[string]command.ChainHead) error {
	next := heads{BindID: c.BindID, Heads: map[string]command.ChainHead{}}
	known, _ := h.Heads(c) // a damaged file is begun anew
	for stream, head := range known {
		next.Heads[stream] = head
	}
	newer := false
	for stream, head := range told {
		if head.Sequence > next.Heads[stream].Sequence {
			next.Heads[stream], newer = head, true
		}
	}
	if !newer {
		return nil
	}
	if err := h.make(dirHeads); err != nil {
		return err
	}
	return durable.WriteJSON(h.headsPath(c), next)
}

func (h *Home) headsPath(c Camera) string {
	return filepath.Join(h.dir, dirHeads, c.Serial.Plain()+".json")
}
