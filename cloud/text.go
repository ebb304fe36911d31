package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Secret is text that must never be shown: however it is printed or marshalled,
// it says [redacted]. S8.
type Secret struct{ s string }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns the text itself; a caller owes a reason.
func (s Secret) Reveal() string { return s.s }

// IsZero tells whether there is nothing inside.
func (s Secret) IsZero() bool { return s.s == "" }

func (s Secret) String() string               { return "[redacted]" }
func (s Secret) GoString() string             { return "[redacted]" }
func (s Secret) Format(f fmt.State, _ rune)   { fmt.Fprint(f, "[redacted]") }
func (s Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// UnmarshalText takes the text itself, from a configuration.
func (s *Secret) UnmarshalText(text []byte) error {
	s.s = string(text)
	return nil
}

// OneLine makes a line for people of text that may be a stranger's: joined
// errors by semicolons, nothing that steers a terminal, at most 300 characters.
func OneLine(text string) string {
	r := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ReplaceAll(text, "\n", "; ")))
	return string(r[:min(len(r), 300)])
}

// DecodeStrict decodes exactly one JSON value: unknown fields, and anything
// behind it, are errors. Repeated names are not noticed; package seal looks for those.
func DecodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
