package upload

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	errNotNow = errors.New("nothing may be uploaded now")
	errCard   = errors.New("the card failed")
)

// statusError is an answer of the store that is not the one hoped for.
type statusError struct {
	what   string
	status int
	code   string        // S3's word for it, if it says one
	after  time.Duration // Retry-After
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("the store answers %s with %d %s", e.what, e.status, http.StatusText(e.status))
	if e.code != "" {
		text += " (" + e.code + ")"
	}
	if e.status >= 300 && e.status < 400 {
		text += ": it sends us elsewhere, where nothing is sent"
	}
	return text
}

// maxRetryAfter bounds what a store can ask of us.
const maxRetryAfter = 15 * time.Minute

func newStatusError(what string, resp *http.Response, body []byte) *statusError {
	e := &statusError{what: what, status: resp.StatusCode, code: errorCode(body)}
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		e.after = min(time.Duration(min(s, 1<<20))*time.Second, maxRetryAfter)
	} else if at, err := http.ParseTime(v); err == nil {
		e.after = min(max(0, time.Until(at)), maxRetryAfter)
	}
	return e
}

// errorCode reads S3's <Code> out of the beginning of an answer; empty if it has
// none that is plain. A stranger's bytes: nothing else of them is used.
func errorCode(body []byte) string {
	_, rest, ok := bytes.Cut(body, []byte("<Code>"))
	code, _, end := bytes.Cut(rest, []byte("</Code>"))
	if !ok || !end || len(code) > 64 || strings.Trim(string(code), codeLetters) != "" {
		return ""
	}
	return string(code)
}

const codeLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789."

// asStatus returns the answer of the store that err is about, or one without a status.
func asStatus(err error) *statusError {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e
	}
	return &statusError{}
}

// retryAfter is what the store asked for, 0 if nothing.
func retryAfter(err error) time.Duration { return asStatus(err).after }

// missing tells whether a look has found nothing.
func missing(err error) bool { return asStatus(err).status == http.StatusNotFound }

// refused tells whether a new grant may help at once: the old one has expired,
// or is not what the store wants any more.
func refused(err error) bool {
	e := asStatus(err)
	return e.after == 0 && (e.status == http.StatusForbidden || e.status == http.StatusUnauthorized || e.code == "ExpiredToken")
}

// passing are the codes of a 400 that are not about the object.
var passing = map[string]bool{"RequestTimeout": true, "ExpiredToken": true, "IncompleteBody": true, "SlowDown": true}

// wrongContent tells whether the store says that a file is not what its grant
// says. Its words differ between stores.
func wrongContent(err error) bool {
	e := asStatus(err)
	return e.what == "PUT" && (e.status == http.StatusBadRequest || e.status == http.StatusUnprocessableEntity) && !passing[e.code]
}

// poisoned tells whether an error is about this object alone, so that the
// others need not wait: the cloud's final word, something else under our name,
// a 4xx that no new grant and no waiting changes.
func poisoned(err error) bool {
	var final interface{ Permanent() bool }
	if errors.As(err, &final) && final.Permanent() {
		return true
	}
	if errors.Is(err, ErrMismatch) {
		return true
	}
	e := asStatus(err)
	switch e.status {
	case http.StatusLengthRequired, http.StatusRequestEntityTooLarge:
		return true
	}
	return wrongContent(err) // a HEAD has no words
}
