// Package web is camcloud's HTTPS API: the handlers behind the operations of
// package api. It checks the account token, says who owns what by the store,
// and hands out names, certificates and signed requests. It sees no content,
// and what belongs to another account looks the same as what is not there.
package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
	"iid2secure.nl/camagent/cmd/camcloud/internal/grant"
	"iid2secure.nl/camagent/cmd/camcloud/internal/pki"
	"iid2secure.nl/camagent/cmd/camcloud/internal/store"
)

// Times and limits of one request. R6.
const (
	readTime   = 15 * time.Second
	writeTime  = 60 * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10
	maxRunning = 64 // requests at a time; more wait
)

// Server answers the API. All fields are set before Run.
type Server struct {
	Listener    net.Listener // Run closes it
	Certificate tls.Certificate
	Store       *store.Store
	Storage     *grant.Storage
	Apps        *pki.Authority          // signs the certificates of apps
	Online      func(cloud.Serial) bool // a hint
	Site        api.Site
	Log         *zap.Logger
}

// Run serves until ctx ends, and then lets requests finish for a moment.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{s.Certificate}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: readTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          zap.NewStdLog(zap.NewNop()), // names strangers' addresses and handshake faults
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	err := srv.ServeTLS(s.Listener, "", "")
	if !stop() {
		<-done
		return nil
	}
	return fmt.Errorf("api: %w", err)
}

// handler answers one operation for an account.
type handler func(r *http.Request, account string) (any, error)

// handlers are by the operation's ID; a test holds them against the table.
func (s *Server) handlers() map[string]handler {
	return map[string]handler{
		api.OpClaim:   s.claim,
		api.OpCameras: s.cameras,
		api.OpCamera:  s.camera,
		api.OpObjects: s.objects,
		api.OpDelete:  s.remove,
		api.OpGet:     s.get,
		api.OpEnrol:   s.enrol,
		api.OpSite:    func(*http.Request, string) (any, error) { return s.Site, nil },
	}
}

// Handler is the API without its listener.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handlers := s.handlers()
	paths := map[string]bool{}
	for _, op := range api.Operations() {
		mux.Handle(op.Method+" "+op.Path, s.wrap(handlers[op.ID]))
		paths[op.Path] = true
	}
	for path := range paths {
		mux.Handle(path, s.wrap(func(*http.Request, string) (any, error) {
			return nil, &api.Error{Status: http.StatusMethodNotAllowed, Code: api.CodeMethod, Message: "this path does not take this method"}
		}))
	}
	mux.Handle("/", s.wrap(func(*http.Request, string) (any, error) { return nil, notFound }))
	slots := make(chan struct{}, maxRunning)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			mux.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

var (
	notFound     = &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound, Message: "no such thing in this account"}
	unauthorized = &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthorized, Message: "account token missing or not valid"}
	unavailable  = &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Message: "the storage does not answer, try again later"}
	fault        = &api.Error{Status: http.StatusInternalServerError, Code: api.CodeInternal, Message: "the cloud has a fault"}
)

func badRequest(format string, args ...any) error {
	return &api.Error{Status: http.StatusBadRequest, Code: api.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// wrap puts account check, limits and answer around a handler.
func (s *Server) wrap(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, api.MaxRequest)
		account, err := s.account(r)
		var out any
		if err == nil {
			out, err = h(r, account)
		}
		status := http.StatusOK
		if err != nil {
			e := s.problem(r, err)
			status, out = e.Status, api.Problem{Error: *e}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(out)
	})
}

func (s *Server) account(r *http.Request) (string, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", unauthorized
	}
	name, err := s.Store.Accounts.Authenticate(cloud.NewSecret(token))
	if errors.Is(err, store.ErrUnknown) {
		return "", unauthorized
	}
	return name, err
}

// problem says what the asker may know of an error; the rest is logged, by
// pattern, for paths hold serials. P8.
func (s *Server) problem(r *http.Request, err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	if errors.Is(err, store.ErrLimit) {
		return &api.Error{Status: http.StatusConflict, Code: api.CodeLimit, Message: err.Error()}
	}
	s.Log.Warn("api: request failed", zap.String("operation", r.Pattern), zap.Error(err))
	return fault
}

// read decodes a request body.
func read[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return v, &api.Error{Status: http.StatusRequestEntityTooLarge, Code: api.CodeTooLarge,
			Message: fmt.Sprintf("request body: at most %d bytes are taken", api.MaxRequest)}
	}
	if err != nil {
		return v, badRequest("request body: not the JSON that is expected here: %v", err)
	}
	return v, nil
}
