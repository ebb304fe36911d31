package api

import (
	"net/http"
	"reflect"
)

// Operation is one thing that the API does. The table of them is the one source
// of the server's routes and of the OpenAPI document.
type Operation struct {
	ID      string // unique; the server finds its handler by it
	Method  string
	Path    string // with {serial} where a camera is meant
	Summary string
	Query   []Param
	Request reflect.Type // of the body; nil: none
	Answer  reflect.Type // of the body of a 200
	Codes   []int        // other statuses that can come, besides 401, 405 and 5xx
}

// Param is one parameter in the query string.
type Param struct {
	Name     string
	Type     string // "string" or "integer"
	Required bool
	Text     string
}

// The IDs of the operations.
const (
	OpClaim   = "claim"
	OpCameras = "listCameras"
	OpCamera  = "getCamera"
	OpObjects = "listObjects"
	OpGet     = "getObject"
	OpDelete  = "deleteObject"
	OpEnrol   = "enrolClient"
	OpSite    = "getSite"
)

// Operations returns the table.
func Operations() []Operation {
	return []Operation{
		{OpClaim, http.MethodPost, "/v1/claims", "Make a claim token for a camera that is about to be paired: used once, 15 minutes.",
			nil, reflect.TypeFor[ClaimRequest](), reflect.TypeFor[Claim](), []int{400, 409, 413}},
		{OpCameras, http.MethodGet, "/v1/cameras", "List the account's cameras.",
			nil, nil, reflect.TypeFor[CameraList](), nil},
		{OpCamera, http.MethodGet, "/v1/cameras/{serial}", "What the cloud knows about one camera.",
			nil, nil, reflect.TypeFor[Camera](), []int{404}},
		{OpObjects, http.MethodGet, "/v1/cameras/{serial}/objects", "List the sealed objects of a camera's present binding, in pages by name.",
			[]Param{
				{"prefix", "string", false, "names that begin so"},
				{"after", "string", false, "names that sort after this one: the last page's next"},
				{"from", "string", false, "RFC 3339: only names whose time is this or later"},
				{"to", "string", false, "RFC 3339: only names whose time is earlier"},
				{"limit", "integer", false, "1 to 500 objects"},
			}, nil, reflect.TypeFor[ObjectList](), []int{400, 404}},
		{OpDelete, http.MethodDelete, "/v1/cameras/{serial}/objects", "Remove one object.",
			[]Param{{"name", "string", true, "its name"}}, nil, reflect.TypeFor[Empty](), []int{400, 404}},
		{OpGet, http.MethodPost, "/v1/cameras/{serial}/get", "Get a presigned request with which to read one object from the storage.",
			nil, reflect.TypeFor[GetRequest](), reflect.TypeFor[Download](), []int{400, 404, 413}},
		{OpEnrol, http.MethodPost, "/v1/clients", "Get a broker certificate for an app.",
			nil, reflect.TypeFor[ClientRequest](), reflect.TypeFor[ClientCert](), []int{400, 409, 413}},
		{OpSite, http.MethodGet, "/v1/site", "Where broker and storage are, and whom to trust.",
			nil, nil, reflect.TypeFor[Site](), nil},
	}
}
