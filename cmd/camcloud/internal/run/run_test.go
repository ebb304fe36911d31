package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

func TestM4_ObjectGoesUpAndComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	// Small enough to be sent before the storage hangs up on the second PUT.
	content := bytes.Repeat([]byte("sealed "), 1000)
	g := cam.grant(bind, "main/a.mp4.age", content)
	require.Contains(t, g.Put.URL, "X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256&",
		"all that a grant says must be signed, the size included: it is checked before the body is read")
	require.InDelta(t, time.Now().Add(10*time.Minute).Unix(), g.Expires, 5)
	require.Equal(t, http.StatusNotFound, r.do(g.Head, nil).StatusCode)
	require.Equal(t, http.StatusOK, r.do(g.Put, content).StatusCode)
	head := r.do(g.Head, nil)
	require.Equal(t, http.StatusOK, head.StatusCode)
	require.Equal(t, int64(len(content)), head.ContentLength)
	require.Equal(t, g.Put.Headers["X-Amz-Checksum-Sha256"], head.Header.Get("X-Amz-Checksum-Sha256"), "HEAD must confirm the checksum")
	require.Equal(t, http.StatusPreconditionFailed, r.do(g.Put, content).StatusCode, "a grant is good for one object, once")

	list, err := r.api.Objects(t.Context(), cam.id.Serial, api.ObjectQuery{})
	require.NoError(t, err)
	require.Len(t, list.Objects, 1)
	require.Equal(t, "main/a.mp4.age", list.Objects[0].Name)
	require.Equal(t, int64(len(content)), list.Objects[0].Size)
	large := make([]byte, 8<<20)
	require.Equal(t, http.StatusOK, r.do(cam.grant(bind, "sub/large.age", large).Put, large).StatusCode)
	d, err := r.api.Get(t.Context(), cam.id.Serial, "main/a.mp4.age")
	require.NoError(t, err)
	body, err := r.api.Fetch(t.Context(), d)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, errors.Join(err, body.Close()))
	require.Equal(t, content, got)
	require.NoError(t, r.api.Delete(t.Context(), cam.id.Serial, "main/a.mp4.age"))
	_, err = r.api.Get(t.Context(), cam.id.Serial, "main/a.mp4.age")
	requireCode(t, err, http.StatusNotFound, api.CodeNotFound)
}

func TestS11_GrantIsForExactlyOneObject(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	content := []byte("what was announced")
	for name, change := range map[string]func(*cloud.Request, *[]byte){
		"corrupt body":     func(_ *cloud.Request, b *[]byte) { *b = []byte("what was annOunced") },
		"shorter":          func(_ *cloud.Request, b *[]byte) { *b = (*b)[1:] },
		"longer":           func(_ *cloud.Request, b *[]byte) { *b = append(*b, 'x') },
		"another checksum": func(q *cloud.Request, _ *[]byte) { q.Headers["X-Amz-Checksum-Sha256"] = strings.Repeat("A", 43) + "=" },
		"no checksum":      func(q *cloud.Request, _ *[]byte) { delete(q.Headers, "X-Amz-Checksum-Sha256") },
		"overwriting":      func(q *cloud.Request, _ *[]byte) { delete(q.Headers, "If-None-Match") },
		"another key":      func(q *cloud.Request, _ *[]byte) { q.URL = strings.Replace(q.URL, "/one.age?", "/two.age?", 1) },
		"another bind id":  func(q *cloud.Request, _ *[]byte) { q.URL = strings.Replace(q.URL, bind, bindID(9), 1) },
		"another method":   func(q *cloud.Request, _ *[]byte) { q.Method = http.MethodDelete },
		"a longer life": func(q *cloud.Request, _ *[]byte) {
			q.URL = strings.Replace(q.URL, "X-Amz-Expires=600", "X-Amz-Expires=6000", 1)
		},
		"a false signature": func(q *cloud.Request, _ *[]byte) {
			q.URL = strings.Replace(q.URL, "X-Amz-Signature=", "X-Amz-Signature=0", 1)
		},
	} {
		g := cam.grant(bind, "one.age", content)
		q, body := g.Put, bytes.Clone(content)
		before := fmt.Sprint(q, body)
		change(&q, &body)
		require.NotEqual(t, before, fmt.Sprint(q, body), name)
		resp := r.do(q, body)
		require.GreaterOrEqual(t, resp.StatusCode, 400, name)
		require.Less(t, resp.StatusCode, 500, name)
		require.Equal(t, http.StatusNotFound, r.do(g.Head, nil).StatusCode, name)
	}
	require.Equal(t, http.StatusOK, r.do(cam.grant(bind, "one.age", content).Put, content).StatusCode)
}

func TestS11_GrantsOutsideTheOwnBindingAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.camera(), r.camera()
	bind := cam.bind(r.api, 1)
	theirs := other.bind(r.api, 2)
	good := requestFor(cam.id.Serial, bind, "a.age", []byte("x"))
	own := cam.id.Serial.Plain() + "/" + bind + "/"
	for name, change := range map[string]func(*cloud.GrantRequest){
		"another camera":     func(q *cloud.GrantRequest) { q.Key = cloud.ObjectKey(other.id.Serial, theirs, "a.age") },
		"another binding":    func(q *cloud.GrantRequest) { q.Key = cloud.ObjectKey(cam.id.Serial, theirs, "a.age") },
		"no name":            func(q *cloud.GrantRequest) { q.Key = own },
		"upwards":            func(q *cloud.GrantRequest) { q.Key = own + "../" + theirs + "/a.age" },
		"dots":               func(q *cloud.GrantRequest) { q.Key = own + "a/./b" },
		"double slash":       func(q *cloud.GrantRequest) { q.Key = own + "/a" },
		"query":              func(q *cloud.GrantRequest) { q.Key = own + "a?x=y" },
		"percent":            func(q *cloud.GrantRequest) { q.Key = own + "%2e%2e/a" },
		"control":            func(q *cloud.GrantRequest) { q.Key = own + "a\nb" },
		"long":               func(q *cloud.GrantRequest) { q.Key = own + strings.Repeat("a", api.MaxName+1) },
		"nothing":            func(q *cloud.GrantRequest) { q.Size = 0 },
		"negative":           func(q *cloud.GrantRequest) { q.Size = -1 },
		"too large":          func(q *cloud.GrantRequest) { q.Size = 64<<20 + 1 },
		"no checksum":        func(q *cloud.GrantRequest) { q.SHA256 = "" },
		"short checksum":     func(q *cloud.GrantRequest) { q.SHA256 = q.SHA256[2:] },
		"capital checksum":   func(q *cloud.GrantRequest) { q.SHA256 = strings.Repeat("A", 64) },
		"checksum no digits": func(q *cloud.GrantRequest) { q.SHA256 = strings.Repeat("z", 64) },
	} {
		q := good
		change(&q)
		a := cam.ask(cloud.AskGrant, q)
		require.NotEmpty(t, a.Error, name)
		require.True(t, a.Final, name)
		require.Empty(t, a.Body, name)
	}
	stranger := r.camera()
	a := stranger.ask(cloud.AskGrant, requestFor(stranger.id.Serial, bindID(0), "a.age", []byte("x")))
	require.NotEmpty(t, a.Error, "an unbound camera")
	require.False(t, a.Final, "its receipt may still come")
}

func TestM7_ReceiptsOverTheBroker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam, other := r.camera(), r.camera()
	claim := func(c *camera) string {
		got, err := r.api.Claim(t.Context(), c.id.Serial)
		require.NoError(t, err)
		return got.Token.Reveal()
	}
	token := claim(cam)
	refused := func(name string, from *camera, n cloud.ReceiptNotice) {
		t.Helper()
		a := from.ask(cloud.AskReceipt, n)
		require.NotEmpty(t, a.Error, name)
		require.True(t, a.Final, name)
		if n.Token != "" {
			require.NotContains(t, a.Error, n.Token, name)
		}
	}
	good := cam.notice(1, bindID(1), token)
	refused("another camera's receipt", other, good)
	refused("no signature", cam, cloud.ReceiptNotice{Receipt: good.Receipt[:len(good.Receipt)-4], Chain: good.Chain, Token: token})
	refused("another's key", cam, cloud.ReceiptNotice{Receipt: other.notice(1, bindID(1), token).Receipt, Chain: good.Chain, Token: token})
	refused("no token", cam, cam.notice(1, bindID(1), ""))
	refused("made-up token", cam, cam.notice(1, bindID(1), "guess"))
	refused("token of another camera", cam, cam.notice(1, bindID(1), claim(other)))
	refused("token that the receipt does not name", cam, cloud.ReceiptNotice{Receipt: cam.notice(1, bindID(1), "guess").Receipt, Chain: good.Chain, Token: token})
	refused("bind id that leads elsewhere", cam, cam.notice(1, "../"+bindID(1)[3:], token))
	_, err := r.api.Camera(t.Context(), cam.id.Serial)
	requireCode(t, err, http.StatusNotFound, api.CodeNotFound)

	require.Empty(t, cam.ask(cloud.AskReceipt, good).Error)
	require.Empty(t, cam.ask(cloud.AskReceipt, good).Error, "its answer may have been lost")
	refused("token used again", cam, cam.notice(2, bindID(2), token))
	refused("same epoch, another bind id", cam, cam.notice(1, bindID(2), claim(cam)))
	require.Empty(t, cam.ask(cloud.AskReceipt, cam.notice(5, bindID(5), claim(cam))).Error)
	refused("older epoch", cam, good)
	got, err := r.api.Camera(t.Context(), cam.id.Serial)
	require.NoError(t, err)
	require.Equal(t, uint64(5), got.Epoch)
	require.Equal(t, bindID(5), got.BindID)
	require.True(t, got.Online)
}

func TestS4_AsksThatAreNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	for _, bad := range []string{"", "{", "null", "[]", `{"v":1}`, `{"v":1,"id":"` + strings.Repeat("a", 65) + `","kind":"grant"}`, strings.Repeat("[", 60000)} {
		r.wait(cam.client.Publish(cloud.TopicAsk(cam.id.Serial), 1, false, bad))
	}
	a := cam.ask("open-the-door", nil) // the first thing that is answered
	require.True(t, a.Final)
	require.Contains(t, a.Error, "unknown kind")
	a = cam.ask(cloud.AskGrant, "text")
	require.True(t, a.Final)
	a = cam.ask(cloud.AskReceipt, []int{1})
	require.True(t, a.Final)
}

func TestM5_AppTalksToItsCamera(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	cam.bind(r.api, 1)
	id, cert := r.enrol(r.api)
	app := r.connect(r.options(id, cert))
	got := make(chan string, 1)
	r.wait(app.Subscribe(cloud.TopicOut(cam.id.Serial, id), 0, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
	r.wait(cam.client.Publish(cloud.TopicOut(cam.id.Serial, id), 0, false, "hello"))
	select {
	case s := <-got:
		require.Equal(t, "hello", s)
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	captured, err := os.ReadFile(r.cfg.Capture)
	require.NoError(t, err)
	require.Contains(t, string(captured), "hello")
}

func TestP13_RebindingTakesTheCameraFromTheFormerAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	cam.bind(r.api, 1)
	id, cert := r.enrol(r.api)
	lost := make(chan struct{}, 1)
	r.connect(r.options(id, cert).SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} }))
	bob := r.account("bob")
	cam.bind(bob, 2)
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("the former owner's app stays connected")
	}
	_, err := r.api.Camera(t.Context(), cam.id.Serial)
	requireCode(t, err, http.StatusNotFound, api.CodeNotFound)
	_, err = bob.Camera(t.Context(), cam.id.Serial)
	require.NoError(t, err)
}

func TestR8_RestartGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	require.Equal(t, http.StatusOK, r.do(cam.grant(bind, "a.age", []byte("x")).Put, []byte("x")).StatusCode)
	id, cert := r.enrol(r.api)
	r.wait(cam.client.Publish(cloud.TopicStatus(cam.id.Serial), 1, true, "online"))
	old := r.info
	r.end()
	require.NoError(t, os.Remove(filepath.Join(r.cfg.Dir, InfoFile)))
	r.cfg.MQTT.Address, r.cfg.HTTPS.Address = old.Broker, strings.TrimPrefix(old.API, "https://")
	r.cfg.S3.Serve.Address = old.Storage
	r.start()
	require.Equal(t, old, r.info, "addresses, account and token stay")
	list, err := r.api.Objects(t.Context(), cam.id.Serial, api.ObjectQuery{})
	require.NoError(t, err)
	require.Len(t, list.Objects, 1)
	cam.connect()
	cam.grant(bind, "b.age", []byte("x"))
	app := r.connect(r.options(id, cert))
	got := make(chan string, 1)
	r.wait(app.Subscribe(cloud.TopicStatus(cam.id.Serial), 1, func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
	select {
	case s := <-got:
		require.Equal(t, "online", s)
	case <-time.After(patience):
		t.Fatal("the retained status is gone")
	}
}

func TestP8_LogsShowNoSerialsAndNoTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	cam.grant(bind, "a.age", []byte("x"))
	cam.ask(cloud.AskGrant, requestFor(cam.id.Serial, bindID(9), "a.age", []byte("x")))
	r.wait(cam.client.Publish(cloud.TopicIn(cam.id.Serial, "x"), 1, false, "denied"))
	_, err := r.api.Claim(t.Context(), cam.id.Serial)
	require.NoError(t, err)
	cam.connect() // takes over
	require.NoError(t, os.RemoveAll(filepath.Join(r.cfg.Dir, "storage", "data")))
	_, err = r.api.Objects(t.Context(), cam.id.Serial, api.ObjectQuery{})
	require.Error(t, err)
	r.end()
	keys, err := os.ReadFile(filepath.Join(r.cfg.Dir, "storage-keys.json"))
	require.NoError(t, err)
	var k struct{ Secret string }
	require.NoError(t, json.Unmarshal(keys, &k))
	all := r.logs.String() + r.out.String()
	require.Contains(t, all, cam.id.Serial.String())
	for _, secret := range []string{cam.id.Serial.Plain(), r.info.Token, k.Secret, cam.id.Code.Reveal()} {
		require.NotContains(t, all, secret)
	}
}

func TestOneProcessOwnsAStateFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := Run(t.Context(), r.cfg, zap.NewNop(), io.Discard)
	require.ErrorContains(t, err, "another camcloud runs in it")
}

func TestStartFailsInOneClearLine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, c := range map[string]struct {
		change func(*rig)
		want   string
	}{
		"factory_ca": {func(r *rig) { r.cfg.FactoryCA = []string{"/none"} }, "factory_ca: open /none"},
		"mqtt":       {func(r *rig) { r.cfg.MQTT.Address = r.info.Broker }, "mqtt.address: "},
		"https":      {func(r *rig) { r.cfg.HTTPS.Address = r.info.Broker }, "https.address: "},
		"storage":    {func(r *rig) { r.cfg.S3.Serve.Binary = "/none" }, "storage for development: "},
		"tls":        {func(r *rig) { r.cfg.TLS.Cert, r.cfg.TLS.Key = "/none", "/none" }, "tls.cert and tls.key: "},
	} {
		other := *r
		other.cfg.Dir, other.cfg.MQTT.Address, other.cfg.HTTPS.Address = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
		c.change(&other)
		err := Run(t.Context(), other.cfg, zap.NewNop(), io.Discard)
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "\n", name)
	}
}

func TestDevelopmentAccountThatLostItsToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.end()
	require.NoError(t, os.Remove(filepath.Join(r.cfg.Dir, "development-account.json")))
	err := Run(t.Context(), r.cfg, zap.NewNop(), io.Discard)
	require.ErrorIs(t, err, store.ErrExists)
	require.ErrorContains(t, err, "camcloud account remove")
}
