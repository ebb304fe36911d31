package upload

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

var (
	errNotNow = errors.New("nothing may be uploaded now")
	errCard   = errors.New("the card failed")
)

// statusError is an answer of the store that is not the one hoped for.
type statusError struct {
	what  string
	code  int
	after time.Duration // Retry-After
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the store answers %s with %d %s", e.what, e.code, http.StatusText(e.code))
}

// maxRetryAfter bounds what a store can ask of us.
const maxRetryAfter = 15 * time.Minute

func newStatusError(what string, resp *http.Response) *statusError {
	e := &statusError{what: what, code: resp.StatusCode}
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		e.after = min(time.Duration(min(s, 1<<20))*time.Second, maxRetryAfter)
	} else if at, err := http.ParseTime(v); err == nil {
		e.after = min(max(0, time.Until(at)), maxRetryAfter)
	}
	return e
}

// retryAfter is what the store asked for, 0 if nothing.
func retryAfter(err error) time.Duration {
	var e *statusError
	if errors.As(err, &e) {
		return e.after
	}
	return 0
}

// poisoned tells whether an error is about this object alone, so that the
// others need not wait: the cloud's final word, something else under our name,
// a file that cannot be read, a 4xx that no new grant and no waiting changes.
func poisoned(err error) bool {
	var final interface{ Permanent() bool }
	if errors.As(err, &final) && final.Permanent() {
		return true
	}
	if errors.Is(err, ErrMismatch) || errors.Is(err, errCard) {
		return true
	}
	var e *statusError
	if !errors.As(err, &e) {
		return false
	}
	switch e.code {
	case http.StatusBadRequest, http.StatusLengthRequired, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
