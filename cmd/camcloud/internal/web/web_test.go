package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cmd/camcloud/internal/pki"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

func server(t *testing.T) (*Server, cloud.Secret) {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(dir)
	require.NoError(t, err)
	token, err := st.Accounts.Add("anna")
	require.NoError(t, err)
	apps, err := pki.OpenAuthority(dir+"/app-ca", "apps")
	require.NoError(t, err)
	return &Server{Store: st, Apps: apps, Online: func(cloud.Serial) bool { return false }, Log: zap.NewNop()}, token
}

// The table of operations and the handlers must be the same set, or the OpenAPI
// document lies.
func TestEveryOperationHasItsHandler(t *testing.T) {
	t.Parallel()
	s, _ := server(t)
	handlers := s.handlers()
	for _, op := range api.Operations() {
		require.NotNil(t, handlers[op.ID], op.ID)
		delete(handlers, op.ID)
	}
	require.Empty(t, handlers, "handlers of no operation")
}

// Every route asks for the token before anything else.
func TestP6_EveryRouteIsBehindTheToken(t *testing.T) {
	t.Parallel()
	s, token := server(t)
	h := s.Handler()
	ask := func(method, path, auth string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, strings.ReplaceAll(path, "{serial}", cloud.NewSerial().Plain()), strings.NewReader("{"))
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, op := range api.Operations() {
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic " + token.Reveal(), token.Reveal()} {
			w := ask(op.Method, op.Path, auth)
			require.Equal(t, http.StatusUnauthorized, w.Code, "%s %s %q", op.Method, op.Path, auth)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		}
		w := ask(op.Method, op.Path, "Bearer "+token.Reveal())
		require.NotEqual(t, http.StatusUnauthorized, w.Code, "%s %s", op.Method, op.Path)
		require.Less(t, w.Code, 500, "%s %s", op.Method, op.Path)
	}
}

// Statuses that a handler gives must be those that the document names.
func TestClaimsLimitIsAConflict(t *testing.T) {
	t.Parallel()
	s, token := server(t)
	h := s.Handler()
	var w *httptest.ResponseRecorder
	for range store.MaxClaims + 1 {
		r := httptest.NewRequest(http.MethodPost, "/v1/claims", strings.NewReader(`{"serial":"`+cloud.NewSerial().Plain()+`"}`))
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
		w = httptest.NewRecorder()
		h.ServeHTTP(w, r)
	}
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), api.CodeLimit)
}

// What goes wrong inside is logged and not told.
func TestFaultsAreNotTold(t *testing.T) {
	t.Parallel()
	s, token := server(t)
	core, logs := observer.New(zap.DebugLevel)
	s.Log = zap.New(core)
	h := s.wrap(func(*http.Request, string) (any, error) { return nil, http.ErrServerClosed })
	r := httptest.NewRequest(http.MethodGet, "/v1/cameras/"+cloud.NewSerial().Plain(), nil)
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), http.ErrServerClosed.Error())
	require.Equal(t, 1, logs.Len())
}

func TestM10_S4_ListsAreAskedForByTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	q, err := objectQuery(url.Values{"from": {"2026-01-02T03:04:05Z"}, "to": {"2026-01-02T05:04:05+01:00"}, "limit": {"7"}})
	require.NoError(t, err)
	require.True(t, q.From.Equal(at))
	require.True(t, q.To.Equal(at.Add(time.Hour)))
	require.Equal(t, 7, q.Limit)
	for _, bad := range []url.Values{
		{"from": {"yesterday"}}, {"to": {"2026-01-02"}}, {"from": {"2026-01-02T03:04:05Z"}, "to": {"2026-01-02T03:04:05Z"}},
		{"limit": {"0"}}, {"prefix": {"../"}}, {"after": {".."}},
	} {
		_, err := objectQuery(bad)
		var refusal *api.Error
		require.ErrorAs(t, err, &refusal, "%v", bad)
		require.Equal(t, http.StatusBadRequest, refusal.Status)
	}
}
