package sim

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Scenario is a script of what happens: in the scene, to the ears, to the
// buttons, and to the hardware itself. docs/simulator.md describes its file.
// It is immutable and may serve several boards.
type Scenario struct {
	about  string
	events []event
}

// maxScenario bounds a scenario file.
const maxScenario = 256 << 10

// LoadScenario reads a scenario file. All that is wrong in it is told in one
// error, with file and line.
func LoadScenario(path string) (*Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxScenario+1))
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", path, err)
	}
	return ParseScenario(path, data)
}

// ParseScenario is LoadScenario for what was read already; name stands in errors.
func ParseScenario(name string, data []byte) (*Scenario, error) {
	if len(data) > maxScenario {
		return nil, fmt.Errorf("%s: more than %d bytes: split it", name, maxScenario)
	}
	return nil, errors.New("not yet")
}

// About is what the file says about itself.
func (s *Scenario) About() string { return s.about }

type event struct{}
