package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

func TestM5_MessagesBothWays(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	d := m.startDevice(t, camera, nil)
	e := m.startDevice(t, other, nil)
	anna, ben := m.dialApp(t, "anna"), m.dialApp(t, "ben")
	c1, err := anna.Conn(limit(t), camera)
	require.NoError(t, err)
	c2, err := anna.Conn(limit(t), other)
	require.NoError(t, err)
	_, err = anna.Conn(limit(t), camera)
	require.ErrorContains(t, err, "7K***Z: a conversation is open already")
	c3, err := ben.Conn(limit(t), camera)
	require.NoError(t, err)

	big := bytes.Repeat([]byte{0, 0xff}, cloud.MaxMessage/2)
	require.NoError(t, c1.Send(limit(t), big))
	require.Equal(t, Message{"anna", big}, <-d.Inbox())
	require.NoError(t, c3.Send(limit(t), []byte("from ben")))
	require.Equal(t, Message{"ben", []byte("from ben")}, <-d.Inbox())
	require.NoError(t, c2.Send(limit(t), []byte("to the other")))
	require.Equal(t, Message{"anna", []byte("to the other")}, <-e.Inbox())

	require.NoError(t, d.Send("anna", big))
	require.NoError(t, d.Send("ben", []byte("hello ben")))
	require.NoError(t, e.Send("anna", []byte("second camera")))
	receive := func(c *AppConn) string {
		b, err := c.Receive(limit(t))
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, string(big), receive(c1))
	require.Equal(t, "second camera", receive(c2))
	require.Equal(t, "hello ben", receive(c3))

	require.ErrorIs(t, c1.Send(limit(t), make([]byte, cloud.MaxMessage+1)), ErrTooLarge)
	require.ErrorIs(t, d.Send("anna", make([]byte, cloud.MaxMessage+1)), ErrTooLarge)
	require.Error(t, d.Send("an/na", nil))
	require.NoError(t, c1.Close())
	_, err = c1.Receive(limit(t))
	require.ErrorIs(t, err, errConnClosed)
	require.Error(t, c1.Send(limit(t), []byte("x")))
	c1, err = anna.Conn(limit(t), camera)
	require.NoError(t, err, "a closed conversation can be opened anew")
	require.NoError(t, c1.Close())
}

func TestPresence(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	app := m.dialApp(t, "phone-of-anna")
	status, err := app.Status(limit(t), camera)
	require.NoError(t, err)
	n := 0
	cfg := DeviceConfig{Broker: m.devices, TLS: m.deviceTLS(t, camera), Serial: camera, Presence: func(online bool) []byte {
		n++
		if !online {
			return nil
		}
		return fmt.Appendf(nil, "online %d", n)
	}}
	d, stop := runDevice(t, cfg)
	next := func() string {
		select {
		case b := <-status:
			return string(b)
		case <-limit(t).Done():
			return "nothing"
		}
	}
	require.Equal(t, "online 1", next())
	d.RefreshPresence()
	require.Equal(t, "online 2", next())
	stop()
	require.Equal(t, "offline", next())

	d, _ = runDevice(t, cfg)
	require.Equal(t, "online 4", next())
	d.wire.Load().cut() // no goodbye: the will
	require.Equal(t, "offline", next())
	require.NoError(t, app.Close())
	_, open := <-status
	require.False(t, open)
}

// cloudClient plays the cloud: answer is called for every ask.
func cloudClient(t *testing.T, m *mosquitto, answer func(publish func(any), q cloud.Ask)) {
	t.Helper()
	cfg, err := tlsConfig(m.apps, m.appTLS(t, "camcloud"))
	require.NoError(t, err)
	asks := make(chan []byte, 10)
	w, err := openWire(limit(t), wireConfig{broker: m.apps, tls: cfg, clientID: "camcloud",
		receive: func(_ string, payload []byte, _ bool) { asks <- payload }})
	require.NoError(t, err)
	require.NoError(t, w.subscribe(limit(t), "cam/1/+/ask", 1))
	done := make(chan struct{})
	t.Cleanup(func() { close(done); w.goodbye() })
	go func() {
		for {
			select {
			case <-done:
				return
			case raw := <-asks:
				var q cloud.Ask
				if json.Unmarshal(raw, &q) == nil {
					answer(func(a any) {
						b, _ := json.Marshal(a)
						w.publish(cloud.TopicAnswer(camera), 1, false, b)
					}, q)
				}
			}
		}
	}()
}

func TestAsk(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	d := m.startDevice(t, camera, nil)
	cloudClient(t, m, func(publish func(any), q cloud.Ask) {
		a := cloud.Answer{V: 1, ID: q.ID}
		switch q.Kind {
		case "echo":
			publish("no answer at all")
			publish(cloud.Answer{V: 1, ID: "unknown", Body: json.RawMessage(`1`)})
			a.Body = q.Body
			publish(a)
			a.Body = json.RawMessage(`"a second answer"`)
		case "no":
			a.Error, a.Final = "because\nof \x1b[31mthis", true
		case "later":
			a.Error = "busy"
		case "odd":
			a.Body = json.RawMessage(`{"a":1}`)
		case "silence":
			return
		}
		publish(a)
	})
	var got string
	require.NoError(t, d.Ask(limit(t), "echo", "hello", &got))
	require.Equal(t, "hello", got)
	err := d.Ask(limit(t), "no", 1, nil)
	var refusal *AskError
	require.ErrorAs(t, err, &refusal)
	require.True(t, refusal.Permanent())
	require.Equal(t, "the cloud refuses: because; of  [31mthis", err.Error())
	require.ErrorAs(t, d.Ask(limit(t), "later", 1, nil), &refusal)
	require.False(t, refusal.Permanent())
	require.ErrorContains(t, d.Ask(limit(t), "odd", 1, &got), "not valid")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, d.Ask(short, "silence", 1, nil), context.DeadlineExceeded)
	require.Empty(t, d.asks)
	eventually(t, func() bool { return d.Stats().Ignored == 3 })

	failed := make(chan error)
	go func() { failed <- d.Ask(context.Background(), "silence", 1, nil) }()
	eventually(t, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.asks) == 1 })
	m.stop()
	require.ErrorIs(t, <-failed, ErrOffline, "no answer can come any more")
	eventually(t, func() bool { return !d.Online() })
	require.ErrorIs(t, d.Ask(limit(t), "echo", 1, nil), ErrOffline)
	require.ErrorIs(t, d.Send("anna", []byte("x")), ErrOffline)
	require.ErrorIs(t, d.PublishEvent(limit(t), []byte("x")), ErrOffline)
	require.EqualValues(t, 1, d.Stats().OutboxDropped)
	eventually(t, func() bool { return errors.Is(d.Stats().LastError, ErrOffline) })
}

func TestR8_BrokerComesBack(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	d := m.startDevice(t, camera, nil)
	app := m.dialApp(t, "anna")
	c, err := app.Conn(limit(t), camera)
	require.NoError(t, err)
	m.stop()
	_, err = c.Receive(limit(t))
	require.ErrorIs(t, err, ErrOffline)
	<-app.Done()
	require.ErrorIs(t, c.Send(limit(t), []byte("x")), ErrOffline)
	eventually(t, func() bool { return !d.Online() })
	require.True(t, m.run(t))
	eventually(t, d.Online)
	require.EqualValues(t, 2, d.Stats().Connects)
	require.NoError(t, d.Stats().LastError)
	c, err = m.dialApp(t, "anna").Conn(limit(t), camera)
	require.NoError(t, err)
	require.NoError(t, c.Send(limit(t), []byte("again")))
	require.Equal(t, "again", string((<-d.Inbox()).Payload), "subscriptions are there again")
}

// The shipped access lists, tested by delivery: mosquitto acknowledges what it denies.
func TestP6_AccessLists(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	victim := m.startDevice(t, camera, nil)
	thief := m.startDevice(t, other, nil)
	app := m.dialApp(t, "mallory")
	seen := make(chan string, 100)
	for _, w := range []*wire{thief.wire.Load(), app.wire} {
		for _, topic := range []string{
			cloud.TopicIn(camera, "anna"), cloud.TopicOut(camera, "anna"), cloud.TopicStatus(camera), cloud.TopicEvent(camera),
			cloud.TopicAsk(camera), cloud.TopicAnswer(camera),
		} {
			token, err := w.publish(topic, 1, false, []byte("forged"))
			require.NoError(t, err)
			require.NoError(t, w.await(limit(t), token))
		}
		for _, filter := range []string{"#", "cam/#", cloud.TopicIn(camera, "+"), cloud.TopicOut(camera, "anna"), cloud.TopicAnswer(camera), cloud.TopicEvent(camera)} {
			w.client.Subscribe(filter, 0, func(_ mqtt.Client, msg mqtt.Message) { seen <- msg.Topic() }).Wait()
		}
	}
	// What is allowed comes through afterwards, and nothing came before it.
	mal, err := app.Conn(limit(t), camera)
	require.NoError(t, err)
	require.NoError(t, mal.Send(limit(t), []byte("allowed")))
	require.Equal(t, Message{"mallory", []byte("allowed")}, <-victim.Inbox())
	require.NoError(t, victim.Send("anna", []byte("for anna only")))
	require.NoError(t, victim.PublishEvent(limit(t), []byte("for members")))
	require.NoError(t, victim.Send("mallory", []byte("end")))
	require.Equal(t, cloud.TopicOut(camera, "mallory"), <-seen, "what is allowed comes last and alone")
	require.NoError(t, app.Close())
	for len(seen) > 0 {
		require.Equal(t, cloud.TopicOut(camera, "mallory"), <-seen)
	}
	require.Zero(t, victim.Stats().Ignored)
}

// Whoever claims another's client id gets their own: the certificate decides.
func TestP6_NobodyTakesAnothersPlace(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	d := m.startDevice(t, camera, nil)
	cfg, err := tlsConfig(m.devices, m.deviceTLS(t, other))
	require.NoError(t, err)
	got := make(chan string, 10)
	w, err := openWire(limit(t), wireConfig{broker: m.devices, tls: cfg, clientID: camera.Plain(), will: cloud.TopicStatus(camera),
		receive: func(topic string, _ []byte, _ bool) { got <- topic }})
	require.NoError(t, err)
	require.NoError(t, w.subscribe(limit(t), cloud.TopicIn(camera, "+"), 0))
	require.NoError(t, w.subscribe(limit(t), cloud.TopicIn(other, "+"), 0))
	app := m.dialApp(t, "anna")
	status, err := app.Status(limit(t), camera)
	require.NoError(t, err)
	for _, serial := range []cloud.Serial{camera, other} {
		c, err := app.Conn(limit(t), serial)
		require.NoError(t, err)
		require.NoError(t, c.Send(limit(t), []byte("x")))
	}
	require.Equal(t, "x", string((<-d.Inbox()).Payload))
	require.Equal(t, cloud.TopicIn(other, "anna"), <-got, "only what is for its own name")
	defer w.goodbye()
	w.cut() // now the broker publishes its will, for another's topic
	c, err := app.Conn(limit(t), "9K3MV9Q2T6XB4Z")
	require.NoError(t, err, "a round trip")
	require.NoError(t, c.Close())
	require.Empty(t, status)
	require.True(t, d.Online())
	require.EqualValues(t, 1, d.Stats().Connects)
}

func TestS4_RetainedCommandIgnored(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	app := m.dialApp(t, "anna")
	token, err := app.wire.publish(cloud.TopicIn(camera, "anna"), 1, true, []byte("stored command"))
	require.NoError(t, err)
	require.NoError(t, app.wire.await(limit(t), token))
	d := m.startDevice(t, camera, nil)
	c, err := app.Conn(limit(t), camera)
	require.NoError(t, err)
	require.NoError(t, c.Send(limit(t), []byte("fresh")))
	require.Equal(t, "fresh", string((<-d.Inbox()).Payload))
	require.EqualValues(t, 1, d.Stats().Ignored)
}

func TestS4_FloodCostsBoundedMemory(t *testing.T) {
	t.Parallel()
	m := startMosquitto(t)
	d := m.startDevice(t, camera, nil)
	c, err := m.dialApp(t, "anna").Conn(limit(t), camera)
	require.NoError(t, err)
	for range 300 {
		require.NoError(t, c.Send(limit(t), make([]byte, 32<<10)))
	}
	eventually(t, func() bool { return d.Stats().InboxDropped > 200 })
	st := d.Stats()
	require.LessOrEqual(t, st.InboxWaitBytes, inboxBytes)
	require.LessOrEqual(t, st.InboxWaiting, inboxCount)
	require.True(t, d.Online(), "the flood does not end the connection")
}

func TestR8_ReconnectsWithJitterAndReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &Device{cfg: DeviceConfig{Log: nopLog()}}
		ctx, cancel := context.WithCancel(context.Background())
		var ends []time.Time
		var waits []time.Duration
		d.loop(ctx, func(context.Context) (time.Duration, error) {
			if len(ends) > 0 {
				waits = append(waits, time.Since(ends[len(ends)-1]))
			}
			up := time.Duration(0)
			if len(ends) == 20 {
				up = time.Minute
				<-time.After(up)
			}
			ends = append(ends, time.Now())
			if len(ends) == 30 {
				cancel()
			}
			return up, errors.New("gone")
		})
		for i, w := range waits[:20] {
			require.LessOrEqual(t, w, min(time.Second<<i, 5*time.Minute), "wait %d", i)
		}
		require.LessOrEqual(t, waits[20], time.Second, "reset after a minute of connection")
		total := time.Duration(0)
		for _, w := range waits[10:20] {
			total += w
		}
		require.Greater(t, total, 5*time.Minute)
	})
}
