package command

// SiteStatus tells at which of several sites the camera meets its cloud.
type SiteStatus struct {
	Name   string           `json:"name"`             // in use, or tried; empty: none is chosen yet
	Home   string           `json:"home,omitempty"`   // where the camera was bound; empty while it is not
	Pinned bool             `json:"pinned,omitempty"` // by the configuration
	Times  map[string]int64 `json:"times_ms"`         // of connections to sites, as last measured
}
