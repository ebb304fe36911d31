package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"
)

// given are the names of waiting clips that the card was told to give up: in the
// state folder before the card removes them, and until a signed gap tells of them. Of
// what is gone without that, somebody else has robbed the owner. A line each, added at
// the end: the name, and the card's id. Its methods may be called from any goroutine.
type given struct {
	path string

	mu    sync.Mutex
	names map[string]string // the card of each
	whole bool              // the file is as names are, and can be added to
}

// openGiven reads what there is. A line that a cut tore is of a clip that is still there.
func openGiven(dir string, warn func(error)) *given {
	g := &given{path: filepath.Join(dir, "given-up"), names: map[string]string{}}
	b, err := os.ReadFile(g.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		warn(err)
	}
	for line := range strings.Lines(string(b)) {
		line, whole := strings.CutSuffix(line, "\n")
		name, card, ok := strings.Cut(line, " ")
		if _, err := cloud.ParseClipName(name); whole && ok && err == nil {
			g.names[name] = card
		}
	}
	return g
}

// add makes a name durable.
func (g *given) add(name, card string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.names[name]; ok {
		return nil
	}
	g.names[name] = card
	err := g.append(name, card)
	if err != nil {
		delete(g.names, name)
	}
	return err
}

// append adds a line to the file. The caller holds mu.
func (g *given) append(name, card string) error {
	if !g.whole {
		return g.write()
	}
	g.whole = false
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(name + " " + card + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	g.whole = err == nil
	return err
}

func (g *given) has(name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.names[name]
	return ok
}

// forget removes the names for which gone holds.
func (g *given) forget(gone func(name, card string) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.names)
	for name, card := range g.names {
		if gone(name, card) {
			delete(g.names, name)
		}
	}
	if len(g.names) == before {
		return nil
	}
	return g.write()
}

// write writes the file anew. The caller holds mu.
func (g *given) write() error {
	var b strings.Builder
	for name, card := range g.names {
		b.WriteString(name + " " + card + "\n")
	}
	err := durable.WriteFile(g.path, []byte(b.String()))
	g.whole = err == nil
	return err
}
