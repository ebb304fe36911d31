// Package errtest is for the tests of boards: errors that people read are of a
// kind, name what it is about, and are one line.
package errtest

import (
	"errors"
	"strings"
	"testing"
)

// Says checks that err is of a kind (nil: any), has all words in its text, and is
// one line.
func Says(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) {
		t.Fatalf("%v, want %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}
}
