package channel

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud"
)

// appSession is the app's end of a session; Client.mu guards it.
type appSession struct {
	id     sessionID
	send   sender
	recv   receiver
	join   joiner
	number uint32
	seq    uint64
	born   time.Time
	uptime time.Duration // the camera's, when last told
	told   time.Time
	gone   bool
	lost   chan []byte    // closed when gone: unknown there, superseded, or refused
	why    *cloud.Refusal // if refused
}

// deadline is in the camera's uptime as it is at least by now: it was told some
// time before it arrived. At most 10 s ahead, and not after ctx's.
func (w *appSession) deadline(ctx context.Context) int64 {
	life := commandLife
	if t, ok := ctx.Deadline(); ok {
		life = min(life, time.Until(t))
	}
	return max(1, (w.uptime + time.Since(w.told) + life).Milliseconds())
}

func (w *appSession) command(k *call, deadline int64) cloud.Command {
	w.seq++
	return cloud.Command{V: 1, ID: k.id, Seq: w.seq, Deadline: deadline, Name: k.name, Args: k.args}
}

func (w *appSession) seal(msg []byte) ([][]byte, error) {
	var out [][]byte
	for _, plain := range split(w.number, msg) {
		m, err := w.send.seal(w.id, plain)
		if err != nil {
			return nil, fmt.Errorf("session: %w", err)
		}
		out = append(out, m)
	}
	w.number++
	return out, nil
}

// attempt is one handshake under way.
type attempt struct {
	id   sessionID
	msg2 chan []byte // the first one that came
	over chan []byte // closed when confirmed or failed
	err  error       // set before over is closed
	ends bool        // over is closed
	made *appSession // after message 3, until confirmed
}

// errAgain is a handshake that did not come about, for a reason that may pass.
var errAgain = errors.New("the handshake failed")

// usable is the current session, or nil if a new one is due.
func (c *Client) usable() *appSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.cur
	if w == nil || w.gone || time.Since(w.born) >= sessionFor ||
		w.send.count() >= maxMessages || w.recv.next >= maxMessages {
		return nil
	}
	return w
}

func (c *Client) lose(w *appSession, why *cloud.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.lose(why)
}

func (w *appSession) lose(why *cloud.Refusal) {
	if !w.gone {
		w.gone, w.why = true, why
		close(w.lost)
	}
}

func (c *Client) refusal(w *appSession) *cloud.Refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return w.why
}

// connect makes a new session; k, if any, rides with message 3. One at a time:
// whoever waited for another's finds it made. The old session goes on receiving
// until the new one is confirmed.
func (c *Client) connect(ctx context.Context, k *call) error {
	if err := c.connecting.take(ctx); err != nil {
		return fmt.Errorf("no answer from the camera: %w", err)
	}
	defer c.connecting.leave()
	for c.usable() == nil {
		err := c.handshake(ctx, k)
		if err == nil || !errors.Is(err, errAgain) {
			return err
		}
		if _, err := c.await(ctx, k, nil, retryPause); !errors.Is(err, errAgain) {
			return err
		}
	}
	return nil
}

// await waits for what comes first: something on msgs or its closing, silence for
// so long (errAgain), the answer to k (nil, nil), or the end.
func (c *Client) await(ctx context.Context, k *call, msgs <-chan []byte, silence time.Duration) ([]byte, error) {
	var answered chan struct{}
	if k != nil {
		answered = k.done
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	select {
	case m := <-msgs:
		return m, nil
	case <-answered:
		return nil, nil
	case <-timer.C:
		return nil, errAgain
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from the camera: %w", ctx.Err())
	case <-c.done:
		return nil, c.err
	}
}

func (c *Client) handshake(ctx context.Context, k *call) error {
	hs, err := newHandshake(c.cfg.Static, c.cfg.Device, c.cfg.Serial, c.cfg.Epoch, c.cfg.BindID, c.cfg.ClientID)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	a := &attempt{msg2: make(chan []byte, 1), over: make(chan []byte)}
	rand.Read(a.id[:])
	msg1, _, _, err := hs.WriteMessage(head(typeHandshake1, a.id), nil)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	c.setAttempt(a)
	defer c.setAttempt(nil)
	body, err := c.ask(ctx, k, a, msg1)
	if err != nil || body == nil {
		return err
	}
	if _, _, _, err := hs.ReadMessage(nil, body); err != nil {
		return errAgain
	}
	ride, err := c.ride(k)
	if err != nil {
		return err
	}
	msg3, out, in, err := hs.WriteMessage(head(typeHandshake3, a.id), ride)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	w := &appSession{
		id: a.id, send: sender{out}, recv: receiver{c: in.Cipher()}, join: joiner{limit: maxReply},
		born: time.Now(), lost: make(chan []byte),
	}
	c.mu.Lock()
	a.made = w
	if ride != nil {
		w.seq = 1
		k.sent(w)
	}
	c.mu.Unlock()
	return c.confirm(ctx, k, a, msg3)
}

func (c *Client) setAttempt(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.try = a
}

// ask sends message 1 until message 2 comes; the camera repeats its answer.
func (c *Client) ask(ctx context.Context, k *call, a *attempt, msg1 []byte) ([]byte, error) {
	for range silentTries {
		if err := c.post(ctx, msg1); err != nil {
			return nil, err
		}
		body, err := c.await(ctx, k, a.msg2, retryEvery)
		if !errors.Is(err, errAgain) {
			return body, err
		}
	}
	return nil, errAgain
}

// ride is the payload of message 3. Its handshake bounds it to 10 s, so it has
// no deadline: the camera may have restarted, and its uptime begun anew.
func (c *Client) ride(k *call) ([]byte, error) {
	if k == nil {
		return nil, nil
	}
	b, err := json.Marshal(cloud.Command{V: 1, ID: k.id, Seq: 1, Name: k.name, Args: k.args})
	if err != nil || len(b) > maxRiding {
		return nil, err
	}
	return b, nil
}

// confirm sends message 3 and waits for the first message in the new session.
func (c *Client) confirm(ctx context.Context, k *call, a *attempt, msg3 []byte) error {
	if err := c.post(ctx, msg3); err != nil {
		return err
	}
	if _, err := c.await(ctx, k, a.over, retryEvery); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.err
}

func (c *Client) post(ctx context.Context, msg []byte) error {
	if err := c.sending.take(ctx); err != nil {
		return fmt.Errorf("no answer from the camera: %w", err)
	}
	defer c.sending.leave()
	if err := c.conn.Send(ctx, msg); err != nil {
		return fmt.Errorf("session: connection: %w", err)
	}
	return nil
}

// take handles one message from the carrier; any bytes are allowed.
func (c *Client) take(msg []byte) {
	m, ok := parse(msg)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.kind {
	case typeHandshake2:
		if a := c.try; a != nil && a.id == m.id && a.made == nil {
			select {
			case a.msg2 <- append([]byte(nil), m.body...):
			default:
			}
		}
	case typeTransport:
		c.transport(m)
	case typeUnknown:
		c.unknown(m.id)
	}
}

// unknown is only a hint, which anybody may have sent: it makes us try a new
// handshake, and takes nothing away.
func (c *Client) unknown(id sessionID) {
	if c.cur != nil && c.cur.id == id {
		c.cur.lose(nil)
	}
	if a := c.try; a != nil && a.made != nil && a.id == id {
		a.end(errAgain)
	}
}

func (a *attempt) end(err error) {
	if !a.ends {
		a.ends, a.err = true, err
		close(a.over)
	}
}

func (c *Client) transport(m message) {
	var w *appSession
	switch a := c.try; {
	case c.cur != nil && c.cur.id == m.id:
		w = c.cur
	case c.old != nil && c.old.id == m.id && time.Now().Before(c.oldTo):
		w = c.old
	case a != nil && a.made != nil && a.id == m.id:
		w = a.made
	default:
		return
	}
	plain, err := w.recv.open(m)
	if err != nil {
		return
	}
	msg, err := w.join.add(plain)
	if err != nil || msg == nil {
		return
	}
	var r cloud.Reply
	if json.Unmarshal(msg, &r) == nil {
		c.replied(w, r)
	}
}

// promote makes the new session the current one: the camera has spoken in it.
func (c *Client) promote(a *attempt) {
	if c.old = c.cur; c.old != nil {
		c.oldTo = time.Now().Add(keepOld)
		c.old.lose(nil)
	}
	c.cur = a.made
}

func (c *Client) replied(w *appSession, r cloud.Reply) {
	w.uptime, w.told = time.Duration(r.Uptime)*time.Millisecond, time.Now()
	a := c.try
	if r.ID == "" && r.Error != nil {
		w.lose(r.Error)
		if a != nil && a.made == w {
			a.end(r.Error)
		}
		return
	}
	if a != nil && a.made == w && c.cur != w {
		c.promote(a)
		a.end(nil)
	}
	if k := c.calls[r.ID]; k != nil {
		k.answer(w, r)
	}
}

// answer takes a reply to the call, unless it refuses only one copy of several.
func (k *call) answer(w *appSession, r cloud.Reply) {
	if k.reply != nil {
		return
	}
	if e := r.Error; e != nil && (e.Code == cloud.CodeLate || e.Code == cloud.CodeBusy) {
		if k.on != w || w.gone {
			return
		}
		if k.refused++; k.refused < k.copies {
			k.last = e
			return
		}
	}
	k.reply = &r
	close(k.done)
}
