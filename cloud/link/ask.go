package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// askTimeout is how long the cloud may take for an answer.
const askTimeout = 30 * time.Second

// maxAsks is how many asks may wait for their answers.
const maxAsks = 16

// Ask sends the cloud a request of the kind and waits for the answer, which it
// unmarshals into answer (may be nil). At most 30 s, shorter if ctx ends.
// Errors: ErrOffline (also when the connection ends meanwhile), *AskError, the
// context's.
func (d *Device) Ask(ctx context.Context, kind string, body, answer any) error {
	w := d.wire.Load()
	if w == nil {
		return fmt.Errorf("asking the cloud (%s): %w", kind, ErrOffline)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	a, err := d.askOnce(ctx, w, kind, body)
	if err != nil {
		return fmt.Errorf("asking the cloud (%s): %w", kind, err)
	}
	if a.Error != "" {
		return &AskError{Reason: cloud.OneLine(a.Error), Final: a.Final}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(a.Body, answer); err != nil {
		return fmt.Errorf("asking the cloud (%s): its answer is not valid: %w", kind, err)
	}
	return nil
}

func (d *Device) askOnce(ctx context.Context, w *wire, kind string, body any) (a cloud.Answer, err error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	q := cloud.Ask{V: 1, ID: cloud.Token(10), Kind: kind, Body: raw}
	msg, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	reply, err := d.expect(q.ID)
	if err != nil {
		return a, err
	}
	defer d.forget(q.ID)
	if _, err := w.publish(cloud.TopicAsk(d.cfg.Serial), 1, false, msg); err != nil {
		return a, err
	}
	select {
	case a, ok := <-reply:
		if !ok {
			return a, ErrOffline
		}
		return a, nil
	case <-w.lost:
		return a, w.reason()
	case <-ctx.Done():
		return a, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

func (d *Device) expect(id string) (<-chan cloud.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asks) >= maxAsks {
		return nil, errors.New("too many questions are open already")
	}
	reply := make(chan cloud.Answer, 1)
	d.asks[id] = reply
	return reply, nil
}

func (d *Device) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.asks, id)
}

// answer takes one answer of the cloud; unknown, second and broken ones have no
// effect.
func (d *Device) answer(payload []byte) {
	var a cloud.Answer
	err := json.Unmarshal(payload, &a)
	d.mu.Lock()
	defer d.mu.Unlock()
	reply := d.asks[a.ID]
	if err != nil || a.V != 1 || reply == nil {
		d.ignored.Add(1)
		return
	}
	delete(d.asks, a.ID)
	reply <- a
}

// failAsks ends all waits: with a clean session no answer can come any more.
func (d *Device) failAsks() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, reply := range d.asks {
		close(reply)
		delete(d.asks, id)
	}
}
