package broker

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/url"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/identity"
)

func TestM5_DeviceAndAppTalk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))

	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	out := r.granted(app, cloud.TopicOut(cam.Serial, appID), 0)
	event := r.granted(app, cloud.TopicEvent(cam.Serial), 1)
	big := bytes.Repeat([]byte{0x5a}, cloud.MaxMessage)
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, appID), 0, false, big))
	m := r.next(in)
	require.Equal(t, cloud.TopicIn(cam.Serial, appID), m.Topic())
	require.Equal(t, big, m.Payload())
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, appID), 0, false, "reply"))
	require.Equal(t, "reply", string(r.next(out).Payload()))
	r.wait(dev.Publish(cloud.TopicEvent(cam.Serial), 1, false, "sealed"))
	require.Equal(t, "sealed", string(r.next(event).Payload()))
	require.True(t, r.broker.Online(cam.Serial))
	require.False(t, r.broker.Online(cloud.NewSerial()))
	require.Contains(t, r.capture.String(), "sealed")
}

func TestP6_DeviceKeepsToItsOwnTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	r.bind("anna", other.Serial, 1)
	bad := r.connect(r.options(other.Serial.Plain(), other.TLS))
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))

	for _, topic := range []string{
		"cam/1/" + cam.Serial.Plain() + "/in/#", "cam/1/" + cam.Serial.Plain() + "/answer", "cam/1/+/in/#", "cam/#", "#", "+/#",
		cloud.TopicStatus(other.Serial), cloud.TopicAsk(other.Serial), "cam/1/" + other.Serial.Plain() + "/#", "$MQTT/#", "$MQTT/sub/#", "$SYS/#", "$JS/#",
	} {
		_, ok := r.subscribe(bad, topic, 0)
		require.False(t, ok, topic)
	}
	status := r.granted(app, cloud.TopicStatus(cam.Serial), 1)
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 1)
	for _, retained := range []bool{false, true} {
		for _, qos := range []byte{0, 1} {
			r.wait(bad.Publish(cloud.TopicStatus(cam.Serial), qos, retained, "forged"))
			r.wait(bad.Publish(cloud.TopicIn(cam.Serial, appID), qos, retained, "forged"))
			r.wait(bad.Publish(cloud.TopicAnswer(cam.Serial), qos, retained, "forged"))
		}
	}
	r.onlyMarker(status, dev, cloud.TopicStatus(cam.Serial))
	r.onlyMarker(in, app, cloud.TopicIn(cam.Serial, appID))
	late := r.connect(r.options(appID+"-late", appCert))
	again := r.granted(late, cloud.TopicStatus(cam.Serial), 1)
	r.onlyMarker(again, dev, cloud.TopicStatus(cam.Serial)) // nothing forged was retained
}

func TestP6_AppKeepsToItsCamerasAndClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mine, theirs := r.device(), r.device()
	annaID, annaCert := r.app("anna")
	bobID, bobCert := r.app("bob")
	r.bind("anna", mine.Serial, 1)
	r.bind("bob", theirs.Serial, 1)
	anna := r.connect(r.options(annaID, annaCert))
	bob := r.connect(r.options(bobID, bobCert))
	dev := r.connect(r.options(mine.Serial.Plain(), mine.TLS))

	for _, topic := range []string{
		cloud.TopicOut(mine.Serial, annaID), cloud.TopicOut(mine.Serial, bobID), cloud.TopicStatus(mine.Serial), cloud.TopicEvent(mine.Serial),
		cloud.TopicOut(theirs.Serial, annaID), cloud.TopicIn(theirs.Serial, bobID), "cam/1/" + theirs.Serial.Plain() + "/#",
		"cam/1/+/event", "#", cloud.TopicAsk(theirs.Serial), cloud.TopicAnswer(theirs.Serial), "$MQTT/#",
	} {
		_, ok := r.subscribe(bob, topic, 1)
		require.False(t, ok, topic)
	}
	in := r.granted(dev, "cam/1/"+mine.Serial.Plain()+"/in/#", 1)
	r.wait(bob.Publish(cloud.TopicIn(mine.Serial, bobID), 1, false, "forged"))
	r.wait(bob.Publish(cloud.TopicIn(mine.Serial, annaID), 1, false, "forged"))
	r.wait(anna.Publish(cloud.TopicIn(mine.Serial, bobID), 1, false, "forged"))
	r.wait(anna.Publish(cloud.TopicAnswer(mine.Serial), 1, false, "forged"))
	r.onlyMarker(in, anna, cloud.TopicIn(mine.Serial, annaID))
}

func TestP6_AppWithoutCamerasMayNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("empty")
	app := r.connect(r.options(id, cert))
	for _, topic := range []string{"#", cloud.TopicStatus(cam.Serial), cloud.TopicOut(cam.Serial, id)} {
		_, ok := r.subscribe(app, topic, 0)
		require.False(t, ok, topic)
	}
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	answer := r.granted(dev, cloud.TopicAnswer(cam.Serial), 0)
	r.wait(app.Publish(cloud.TopicAnswer(cam.Serial), 1, false, "forged"))
	r.answer = []byte("marker")
	r.wait(dev.Publish(cloud.TopicAsk(cam.Serial), 1, false, "q"))
	require.Equal(t, "marker", string(r.next(answer).Payload()))
}

func TestM7_ClaimOpensInAndOutAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	_, _, err := r.store.Claim("anna", cam.Serial)
	require.NoError(t, err)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(id, cert))
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	out := r.granted(app, cloud.TopicOut(cam.Serial, id), 0)
	for _, topic := range []string{cloud.TopicStatus(cam.Serial), cloud.TopicEvent(cam.Serial)} {
		_, ok := r.subscribe(app, topic, 0)
		require.False(t, ok, "a claim must not show presence or events: %s", topic)
	}
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, id), 0, false, "hello"))
	require.Equal(t, "hello", string(r.next(in).Payload()))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id), 0, false, "hello"))
	r.next(out)
}

func TestP4_OnlyCertificatesOfOursGetIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stranger, err := identity.NewSelfMade()
	require.NoError(t, err)
	r.refused(r.options(stranger.Serial.Plain(), stranger.TLS))
	r.refused(r.options(stranger.Serial.Plain(), tls.Certificate{}))
	cam := r.device()
	old := r.options(cam.Serial.Plain(), cam.TLS)
	old.TLSConfig.MinVersion, old.TLSConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	r.refused(old)
	id, cert := r.app("anna")
	r.connect(r.options(id, cert)).Disconnect(0)
	require.NoError(t, r.store.Accounts.Remove("anna"))
	r.refused(r.options(id, cert)) // its account is gone
}

func TestP6_ClientIDIsTheCertificatesName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	victimID, victimCert := r.app("anna")
	badID, badCert := r.app("bob")
	lost := make(chan struct{}, 2)
	gone := func(mqtt.Client, error) { lost <- struct{}{} }
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS).SetConnectionLostHandler(gone))
	r.connect(r.options(victimID, victimCert).SetConnectionLostHandler(gone))

	for _, id := range []string{cam.Serial.Plain(), victimID, victimID + "-x", "", other.Serial.Plain() + "-x"} {
		r.refused(r.options(id, other.TLS))
	}
	for _, id := range []string{cam.Serial.Plain(), victimID, victimID + "-x", badID + "x", badID + "-" + string(bytes.Repeat([]byte("a"), suffixSize)), badID + "-A"} {
		r.refused(r.options(id, badCert))
	}
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 0)
	require.Empty(t, in)
	require.Empty(t, lost, "somebody was thrown out by a stranger")

	r.connect(r.options(cam.Serial.Plain(), cam.TLS)) // its own second connection takes over
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the older connection of the same camera stays")
	}
}

func TestP6_SuffixedClientsAreSeparate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	one := r.connect(r.options(id+"-1", cert))
	two := r.connect(r.options(id+"-2", cert))
	out1 := r.granted(one, cloud.TopicOut(cam.Serial, id+"-1"), 0)
	out2 := r.granted(two, cloud.TopicOut(cam.Serial, id+"-2"), 0)
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id+"-1"), 0, false, "for one"))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, id+"-2"), 0, false, "for two"))
	require.Equal(t, "for one", string(r.next(out1).Payload()))
	require.Equal(t, "for two", string(r.next(out2).Payload()))
}

func TestP6_WillsKeepToTheAccessList(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.device(), r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	for _, topic := range []string{cloud.TopicStatus(cam.Serial), cloud.TopicIn(cam.Serial, appID), cloud.TopicEvent(other.Serial), "x"} {
		r.refused(r.options(other.Serial.Plain(), other.TLS).SetWill(topic, "forged", 1, true))
		r.refused(r.options(appID, appCert).SetWill(topic, "forged", 1, true))
	}
	r.refused(r.options(other.Serial.Plain(), other.TLS).SetWill(cloud.TopicStatus(other.Serial), "x", 2, true))

	app := r.connect(r.options(appID, appCert))
	status := r.granted(app, cloud.TopicStatus(cam.Serial), 1)
	var raw net.Conn
	o := r.options(cam.Serial.Plain(), cam.TLS).SetWill(cloud.TopicStatus(cam.Serial), "offline", 1, true)
	o.SetCustomOpenConnectionFn(func(_ *url.URL, co mqtt.ClientOptions) (net.Conn, error) {
		var err error
		raw, err = tls.Dial("tcp", r.addr, co.TLSConfig)
		return raw, err
	})
	r.connect(o)
	raw.Close() // without DISCONNECT
	require.Equal(t, "offline", string(r.next(status).Payload()))
	late := r.connect(r.options(appID+"-late", appCert))
	m := r.next(r.granted(late, cloud.TopicStatus(cam.Serial), 1))
	require.True(t, m.Retained())
	require.Equal(t, "offline", string(m.Payload()))
}

func TestS4_OnlyPresenceIsRetained(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	app := r.connect(r.options(appID, appCert))
	r.wait(app.Publish(cloud.TopicIn(cam.Serial, appID), 1, true, "old"))
	r.wait(dev.Publish(cloud.TopicEvent(cam.Serial), 1, true, "old"))
	r.wait(dev.Publish(cloud.TopicOut(cam.Serial, appID), 1, true, "old"))
	in := r.granted(dev, "cam/1/"+cam.Serial.Plain()+"/in/#", 1)
	event := r.granted(app, cloud.TopicEvent(cam.Serial), 1)
	out := r.granted(app, cloud.TopicOut(cam.Serial, appID), 1)
	r.onlyMarker(in, app, cloud.TopicIn(cam.Serial, appID))
	r.onlyMarker(event, dev, cloud.TopicEvent(cam.Serial))
	r.onlyMarker(out, dev, cloud.TopicOut(cam.Serial, appID))
}

func TestS4_OversizedAndForbiddenPacketsEndTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	for name, send := range map[string]func(mqtt.Client){
		"message too large": func(c mqtt.Client) {
			c.Publish(cloud.TopicEvent(cam.Serial), 0, false, make([]byte, cloud.MaxMessage+1))
		},
		"packet too large": func(c mqtt.Client) { c.Publish(cloud.TopicEvent(cam.Serial), 0, false, make([]byte, 1<<20)) },
		"QoS 2":            func(c mqtt.Client) { c.Publish(cloud.TopicEvent(cam.Serial), 2, false, "x") },
	} {
		lost := make(chan struct{}, 1)
		c := r.connect(r.options(cam.Serial.Plain(), cam.TLS).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
		send(c)
		select {
		case <-lost:
		case <-time.After(patience):
			t.Fatalf("%s: the connection stays", name)
		}
	}
}

func TestM4_AsksReachTheCloudAndAnswersTheDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	r.answer = bytes.Repeat([]byte("a"), 8000)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	answer := r.granted(dev, cloud.TopicAnswer(cam.Serial), 1)
	question := bytes.Repeat([]byte("q"), 50000)
	r.wait(dev.Publish(cloud.TopicAsk(cam.Serial), 1, false, question))
	require.Equal(t, r.answer, r.next(answer).Payload())
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Equal(t, []ask{{cam.Serial, question}}, r.asks)
}

func TestR8_RestartGoesOnWithItsState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	appID, appCert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	dev := r.connect(r.options(cam.Serial.Plain(), cam.TLS))
	r.wait(dev.Publish(cloud.TopicStatus(cam.Serial), 1, true, "online"))
	r.end()
	r.start(r.addr)
	app := r.connect(r.options(appID, appCert))
	m := r.next(r.granted(app, cloud.TopicStatus(cam.Serial), 1))
	require.Equal(t, "online", string(m.Payload()))
	require.True(t, m.Retained())
}

func TestP13_LostCameraEndsTheAppsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.device()
	id, cert := r.app("anna")
	r.bind("anna", cam.Serial, 1)
	lost := make(chan struct{}, 1)
	r.connect(r.options(id, cert).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
	_, _ = r.app("bob")
	r.bind("bob", cam.Serial, 2)
	r.broker.Drop("anna")
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the former owner's app stays connected")
	}
	again := r.connect(r.options(id, cert))
	_, ok := r.subscribe(again, cloud.TopicStatus(cam.Serial), 0)
	require.False(t, ok)
}
