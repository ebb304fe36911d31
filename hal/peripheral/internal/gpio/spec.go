package gpio

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Spec names a line in one of three ways: by Chip and Offset, by Name, or by
// its Number in sysfs.
type Spec struct {
	Chip   string // "gpiochip0", or the chip's label; empty: not by chip
	Offset int
	Name   string // empty: not by name
	Number int    // used if Chip and Name are empty
}

const (
	maxName = 31 // the kernel keeps names in 32 bytes, the last one zero
	maxLine = 1<<20 - 1
)

// Parse reads "gpiochip0:17", "53" or "IR_CUT_A".
func Parse(text string) (Spec, error) {
	if text == "" {
		return Spec{}, errors.New(`is empty, want a line: "gpiochip0:17", or its name`)
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return Spec{}, fmt.Errorf("is %q, want printable ASCII characters", text)
		}
	}
	if digits(text) {
		n, err := number(text)
		return Spec{Number: n}, err
	}
	if i := strings.LastIndexByte(text, ':'); i >= 0 && digits(text[i+1:]) {
		n, err := number(text[i+1:])
		if err != nil {
			return Spec{}, err
		}
		return Spec{Chip: text[:i], Offset: n}, named("chip", text[:i])
	}
	return Spec{Name: text}, named("line", text)
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n > maxLine {
		return 0, fmt.Errorf("has line %s, want 0 to %d", s, maxLine)
	}
	return n, nil
}

func named(what, name string) error {
	if name == "" || len(name) > maxName || strings.TrimSpace(name) != name || strings.ContainsRune(name, '/') && what == "chip" {
		return fmt.Errorf("has %s %q, want the name of a %s, of 1 to %d characters", what, name, what, maxName)
	}
	return nil
}

// String is what Parse reads.
func (s Spec) String() string {
	switch {
	case s.Chip != "":
		return s.Chip + ":" + strconv.Itoa(s.Offset)
	case s.Name != "":
		return s.Name
	}
	return strconv.Itoa(s.Number)
}
