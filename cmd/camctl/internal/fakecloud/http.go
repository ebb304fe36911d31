package fakecloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/api"
)

// Server speaks the cloud's API over HTTP, for httptest. Its fields are set
// before it serves.
type Server struct {
	Cloud  *Cloud
	Token  string        // the one that is accepted
	Site   api.Site      // what it tells
	Expiry time.Duration // of broker certificates
	Enrols func()        // told of each certificate
	// Storage is the base address of the objects; its own by default.
	Storage string
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/site", s.answer(func(*http.Request) (any, error) { return s.Site, nil }))
	mux.HandleFunc("POST /v1/clients", s.answer(s.enrol))
	mux.HandleFunc("GET /v1/cameras/{serial}/objects", s.answer(s.list))
	mux.HandleFunc("POST /v1/cameras/{serial}/get", s.answer(s.get))
	mux.HandleFunc("GET /store/{name}", s.fetch)
	mux.ServeHTTP(w, r)
}

func (s *Server) answer(fn func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var v any
		err := error(&api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthorized, Message: "the account token is not valid"})
		if r.Header.Get("Authorization") == "Bearer "+s.Token {
			v, err = fn(r)
		}
		if err != nil {
			p := api.Problem{Error: api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Message: err.Error()}}
			if refusal, ok := errors.AsType[*api.Error](err); ok {
				p.Error = *refusal
			}
			w.WriteHeader(p.Error.Status)
			v = p
		}
		json.NewEncoder(w).Encode(v)
	}
}

func (s *Server) list(r *http.Request) (any, error) {
	limit, _ := strconv.Atoi(r.FormValue("limit"))
	return s.Cloud.Objects(r.Context(), cloud.Serial(r.PathValue("serial")),
		api.ObjectQuery{Prefix: r.FormValue("prefix"), After: r.FormValue("after"), Limit: limit})
}

func (s *Server) get(r *http.Request) (any, error) {
	var req api.GetRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	d, err := s.Cloud.Get(r.Context(), cloud.Serial(r.PathValue("serial")), req.Name)
	base := s.Storage
	if base == "" {
		base = "https://" + r.Host
	}
	d.URL = base + "/store/" + d.URL
	return d, err
}

func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	body, err := s.Cloud.Fetch(r.Context(), api.Download{URL: r.PathValue("name")})
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	io.Copy(w, body)
}

// enrol signs with a key of its own making, as an app CA would.
func (s *Server) enrol(r *http.Request) (any, error) {
	var req api.ClientRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(req.CSR))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s.Enrols()
	until := time.Now().Add(s.Expiry)
	der, err := x509.CreateCertificate(rand.Reader,
		&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app-1"}, NotAfter: until},
		&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "app CA"}}, csr.PublicKey, key)
	if err != nil {
		return nil, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return api.ClientCert{ID: "app-1", Chain: string(chain), Expires: until.Unix()}, nil
}
