package command

// UploadProgress tells what is on its way to the store, and what hinders it.
type UploadProgress struct {
	Oldest  string    `json:"oldest,omitempty"`  // start of the oldest object that waits, RFC 3339
	Sending []Sending `json:"sending,omitempty"` // an alarm that overtakes last
	Retries uint64    `json:"retries,omitempty"` // since boot
	Refused uint64    `json:"refused,omitempty"` // objects that were set aside: tried again after an hour
	Error   string    `json:"error,omitempty"`   // of the last attempt
	NextTry string    `json:"next_try,omitempty"`
}

// Sending is one file on its way.
type Sending struct {
	File string `json:"file"`
	Lane string `json:"lane"` // snapshot, alarm, routine or backfill
	Size int64  `json:"size"`
	Sent int64  `json:"sent"` // bytes taken from the card
}
