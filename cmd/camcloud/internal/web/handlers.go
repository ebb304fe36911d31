package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cmd/camcloud/internal/grant"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

// claim makes a claim token for any valid serial: whether there is such a
// camera, and whose it is, is not told.
func (s *Server) claim(r *http.Request, account string) (any, error) {
	req, err := read[api.ClaimRequest](r)
	if err != nil {
		return nil, err
	}
	serial, err := cloud.ParseSerial(req.Serial.Plain())
	if err != nil {
		return nil, badRequest("%v", err)
	}
	token, end, err := s.Store.Claim(account, serial)
	if err != nil {
		return nil, err
	}
	// The one answer in which the token is told.
	return api.Claim{Token: api.Token(token.Reveal()), Expires: end.Unix()}, nil
}

func (s *Server) cameras(_ *http.Request, account string) (any, error) {
	list := api.CameraList{Cameras: []api.Camera{}}
	for _, b := range s.Store.Bindings(account) {
		list.Cameras = append(list.Cameras, s.describe(b))
	}
	return list, nil
}

func (s *Server) camera(r *http.Request, account string) (any, error) {
	b, err := s.binding(r, account)
	if err != nil {
		return nil, err
	}
	return s.describe(b), nil
}

func (s *Server) describe(b store.Binding) api.Camera {
	return api.Camera{Serial: b.Serial, Epoch: b.Epoch, BindID: b.BindID, Bound: b.Booked.Unix(), Online: s.Online(b.Serial)}
}

// binding finds the camera in the path among the account's. P6.
func (s *Server) binding(r *http.Request, account string) (store.Binding, error) {
	serial, err := cloud.ParseSerial(r.PathValue("serial"))
	if err != nil {
		return store.Binding{}, notFound
	}
	b, ok := s.Store.Binding(serial)
	if !ok || b.Account != account {
		return store.Binding{}, notFound
	}
	return b, nil
}

func (s *Server) objects(r *http.Request, account string) (any, error) {
	b, err := s.binding(r, account)
	if err != nil {
		return nil, err
	}
	q, err := objectQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	// The storage knows names alone: a time is where one begins.
	q.After = q.Begin()
	list, err := s.Storage.List(r.Context(), cloud.ObjectKey(b.Serial, b.BindID, ""), q)
	if i := slices.IndexFunc(list.Objects, func(o api.Object) bool { return q.Past(o.Name) }); i >= 0 {
		list.Objects, list.Next = list.Objects[:i], ""
	}
	return list, s.storage(err)
}

func objectQuery(v url.Values) (q api.ObjectQuery, err error) {
	q = api.ObjectQuery{Prefix: v.Get("prefix"), After: v.Get("after"), Limit: api.MaxObjects}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > api.MaxObjects {
			return q, badRequest("limit: want 1 to %d", api.MaxObjects)
		}
	}
	if q.Prefix != "" && !grant.ValidName(strings.TrimSuffix(q.Prefix, "/")) || q.After != "" && !grant.ValidName(q.After) {
		return q, badRequest("prefix and after: want a name or the beginning of one")
	}
	for name, at := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if text := v.Get(name); text != "" {
			if *at, err = time.Parse(time.RFC3339, text); err != nil {
				return q, badRequest("%s: want RFC 3339, as 2026-01-02T03:04:05Z", name)
			}
		}
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return q, badRequest("from: want a time before to")
	}
	return q, nil
}

func (s *Server) get(r *http.Request, account string) (any, error) {
	b, err := s.binding(r, account)
	if err != nil {
		return nil, err
	}
	req, err := read[api.GetRequest](r)
	if err != nil {
		return nil, err
	}
	key, err := s.existing(r, b, req.Name)
	if err != nil {
		return nil, err
	}
	return s.Storage.Get(r.Context(), key)
}

func (s *Server) remove(r *http.Request, account string) (any, error) {
	b, err := s.binding(r, account)
	if err != nil {
		return nil, err
	}
	key, err := s.existing(r, b, r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return api.Empty{}, s.storage(s.Storage.Delete(r.Context(), key))
}

// existing returns the key of an object that is there.
func (s *Server) existing(r *http.Request, b store.Binding, name string) (string, error) {
	if !grant.ValidName(name) {
		return "", badRequest("name: not the name of an object")
	}
	key := cloud.ObjectKey(b.Serial, b.BindID, name)
	found, err := s.Storage.Exists(r.Context(), key)
	if err == nil && !found {
		return "", notFound
	}
	return key, s.storage(err)
}

// storage turns a fault of the storage's into an answer, and logs it.
func (s *Server) storage(err error) error {
	if err == nil {
		return nil
	}
	s.Log.Warn("api: storage", zap.Error(err))
	return unavailable
}

// enrol signs the broker certificate of an app. The client id is ours to
// choose, so that nobody can ask for somebody else's.
func (s *Server) enrol(r *http.Request, account string) (any, error) {
	req, err := read[api.ClientRequest](r)
	if err != nil {
		return nil, err
	}
	id := cloud.Token(10)
	chain, end, err := s.Apps.Client(req.CSR, id)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if err := s.Store.AddClient(id, account, end); err != nil {
		return nil, err
	}
	return api.ClientCert{ID: id, Chain: chain, Expires: end.Unix()}, nil
}
