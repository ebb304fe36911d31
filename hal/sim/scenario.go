package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Scenario is a script of what happens: in the scene, to the ears, to the
// buttons, and to the hardware itself. docs/simulator.md describes its file.
// It is immutable and may serve several boards.
type Scenario struct {
	about  string
	events []event
}

// Bounds of a scenario file: bytes, entries, and problems told at once.
const (
	maxScenario = 256 << 10
	maxEvents   = 1000
	maxProblems = 20
)

// LoadScenario reads a scenario file. All that is wrong in it is told in one
// error, with file and line.
func LoadScenario(path string) (*Scenario, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() { // a FIFO would be waited for
		return nil, fmt.Errorf("scenario: %s: is no regular file, want one with YAML", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxScenario+1))
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return ParseScenario(path, data)
}

// ParseScenario is LoadScenario for what was read already; name stands in errors.
func ParseScenario(name string, data []byte) (*Scenario, error) {
	if len(data) > maxScenario {
		return nil, fmt.Errorf("scenario %s: more than %d bytes", name, maxScenario)
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		err = dec.Decode(&more)
	}
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	var p scenarioParser
	if len(more.Content) > 0 {
		p.complain(more.Content[0].Line, "a second document begins, want one")
	}
	if len(doc.Content) == 0 {
		p.complain(1, "is empty, want script: with a list of what happens")
	} else {
		p.top(doc.Content[0])
	}
	if len(p.bad) > 0 {
		return nil, p.problems(name)
	}
	return &p.made, nil
}

// About is what the file says about itself.
func (s *Scenario) About() string { return s.about }

// scenarioParser gathers events, and all that is wrong.
type scenarioParser struct {
	made Scenario
	bad  []problem
}

func (p *scenarioParser) complain(line int, format string, args ...any) {
	p.bad = append(p.bad, problem{line, fmt.Sprintf(format, args...)})
}

// problems joins what is wrong, a line each.
func (p *scenarioParser) problems(name string) error {
	slices.SortStableFunc(p.bad, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for i, b := range p.bad {
		if i == maxProblems {
			errs = append(errs, fmt.Errorf("scenario %s: and %d more", name, len(p.bad)-i))
			break
		}
		errs = append(errs, fmt.Errorf("scenario %s:%d: %s", name, b.line, b.text))
	}
	return errors.Join(errs...)
}

func (p *scenarioParser) top(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		p.complain(n.Line, "want keys about and script")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case seen[key.Value]:
			p.complain(key.Line, "%s stands twice", key.Value)
		case key.Value == "about" && value.Kind == yaml.ScalarNode:
			p.made.about = value.Value
		case key.Value == "about":
			p.complain(value.Line, "about: want a text")
		case key.Value == "script":
			p.script(value)
		default:
			p.complain(key.Line, "unknown key %q: want about or script", key.Value)
		}
		seen[key.Value] = true
	}
	if !seen["script"] {
		p.complain(n.Line, "script is missing: want a list of what happens")
	}
}

func (p *scenarioParser) script(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		p.complain(n.Line, "script: want a list, as in \"- {at: 10s, walk: left}\"")
		return
	}
	if len(n.Content) > maxEvents {
		p.complain(n.Line, "script has %d entries, want at most %d: use every", len(n.Content), maxEvents)
		return
	}
	for _, entry := range n.Content {
		fields, ok := p.fields(entry)
		if !ok {
			continue
		}
		e, bad := build(fields, entry.Line, true)
		p.bad = append(p.bad, bad...)
		p.made.events = append(p.made.events, e)
	}
}

// fields flattens one entry of the script.
func (p *scenarioParser) fields(n *yaml.Node) (fields []field, ok bool) {
	if n.Kind != yaml.MappingNode {
		p.complain(n.Line, "want an entry like {at: 10s, walk: left}")
		return nil, false
	}
	ok = true
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
			p.complain(key.Line, "%s: want one word, number or time", key.Value)
			ok = false
			continue
		}
		f := field{key.Value, value.Value, key.Line}
		if value.Tag == "!!null" {
			f.value = ""
		}
		fields = append(fields, f)
	}
	return fields, ok
}
