package run

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

func requireCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *api.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, status, e.Status)
	require.Equal(t, code, e.Code)
	require.NotContains(t, err.Error(), "\n")
}

func TestP6_AnotherAccountSeesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	require.Equal(t, http.StatusOK, r.do(cam.grant(bind, "a.age", []byte("x")).Put, []byte("x")).StatusCode)
	bob := r.account("bob")
	ctx := t.Context()
	for _, serial := range []cloud.Serial{cam.id.Serial, cloud.NewSerial(), "nonsense"} {
		_, camErr := bob.Camera(ctx, serial)
		_, listErr := bob.Objects(ctx, serial, api.ObjectQuery{})
		_, getErr := bob.Get(ctx, serial, "a.age")
		for _, err := range []error{camErr, listErr, getErr, bob.Delete(ctx, serial, "a.age")} {
			requireCode(t, err, http.StatusNotFound, api.CodeNotFound)
			require.ErrorContains(t, err, "no such thing in this account")
		}
	}
	cams, err := bob.Cameras(ctx)
	require.NoError(t, err)
	require.Empty(t, cams)
	cams, err = r.api.Cameras(ctx)
	require.NoError(t, err)
	require.Len(t, cams, 1)
}

func TestP6_TokensAreChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, token := range []string{"", "guess", r.info.Token + "x", store.Hash(r.info.Token)} {
		c := api.New(r.info.API, r.roots, cloud.NewSecret(token))
		t.Cleanup(c.Close)
		_, err := c.Cameras(t.Context())
		requireCode(t, err, http.StatusUnauthorized, api.CodeUnauthorized)
		_, err = c.Site(t.Context())
		requireCode(t, err, http.StatusUnauthorized, api.CodeUnauthorized)
	}
}

func TestS4_APITakesOnlyWhatItKnows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	cam.bind(r.api, 1)
	path := "/v1/cameras/" + cam.id.Serial.Plain()
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/claims", `{`, 400}, {"POST", "/v1/claims", `{}`, 400}, {"POST", "/v1/claims", `{"serial":"AAAA"}`, 400},
		{"POST", "/v1/claims", `{"serial":"x","more":1}`, 400}, {"POST", "/v1/claims", `{"serial":"` + strings.Repeat("a", api.MaxRequest) + `"}`, 413},
		{"GET", "/v1/claims", ``, 405}, {"PATCH", path, ``, 405}, {"GET", "/v1/nothing", ``, 404}, {"GET", "/", ``, 404},
		{"GET", path + "/objects?limit=0", ``, 400}, {"GET", path + "/objects?limit=501", ``, 400}, {"GET", path + "/objects?limit=x", ``, 400},
		{"GET", path + "/objects?prefix=../", ``, 400}, {"GET", path + "/objects?after=%2e%2e/x", ``, 400},
		{"POST", path + "/get", `{"name":"../x"}`, 400}, {"POST", path + "/get", `{"name":""}`, 400}, {"POST", path + "/get", `{"name":"none"}`, 404},
		{"DELETE", path + "/objects", ``, 400}, {"DELETE", path + "/objects?name=none", ``, 404},
		{"POST", "/v1/clients", `{"csr":"x"}`, 400},
	} {
		resp := r.raw(c.method, c.path, c.body)
		require.Equal(t, c.status, resp.status, "%s %s %.40s", c.method, c.path, c.body)
		var p api.Problem
		require.NoError(t, json.Unmarshal(resp.body, &p), "%s %s", c.method, c.path)
		require.NotEmpty(t, p.Error.Code)
		require.NotEmpty(t, p.Error.Message)
	}
}

type answer struct {
	status int
	body   []byte
}

// raw sends a request with the account's token.
func (r *rig) raw(method, path, body string) answer {
	t := r.t
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.info.API+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+r.info.Token)
	tr := r.transport()
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, b}
}

func TestM3_ObjectsAreListedInPages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cam := r.camera()
	bind := cam.bind(r.api, 1)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("main/%02d.age", i)
		require.Equal(t, http.StatusOK, r.do(cam.grant(bind, name, []byte("x")).Put, []byte("x")).StatusCode)
		want = append(want, name)
	}
	require.Equal(t, http.StatusOK, r.do(cam.grant(bind, "sub/00.age", []byte("x")).Put, []byte("x")).StatusCode)
	for _, limit := range []int{1, 3, 7, 500} {
		var got []string
		q := api.ObjectQuery{Prefix: "main/", Limit: limit}
		for {
			page, err := r.api.Objects(t.Context(), cam.id.Serial, q)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Objects), limit)
			for _, o := range page.Objects {
				got = append(got, o.Name)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		require.Equal(t, want, got, "limit %d", limit)
	}
}

func TestSiteTellsWhereThingsAre(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	site, err := r.api.Site(t.Context())
	require.NoError(t, err)
	ca, err := os.ReadFile(r.info.CA)
	require.NoError(t, err)
	require.Equal(t, api.Site{Broker: r.info.Broker, Storage: r.info.Storage, CA: string(ca)}, site)
}
