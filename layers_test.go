// Package camagent holds only the test of the layers: which package may import which.
package camagent

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "iid2secure.nl/camagent/"

// rule forbids importers an import, but for those in except.
type rule struct {
	from   string   // package path prefix below the module; "" is all
	target string   // import path prefix
	except []string // prefixes below the module that may
	why    string
}

var rules = []rule{
	{"media", module + "cloud", nil, "media and cloud never import each other: agent joins them"},
	{"cloud", module + "media", nil, "media and cloud never import each other: agent joins them"},
	{"media", module + "agent", nil, "imports run one way: cmd, agent, {media, cloud}, hal and config"},
	{"cloud", module + "agent", nil, "imports run one way: cmd, agent, {media, cloud}, hal and config"},
	{"cloud", module + "hal", nil, "the outside vocabulary knows no hardware"},
	{"hal", module + "media", nil, "a board knows nothing above it"},
	{"hal", module + "cloud", nil, "a board knows nothing above it"},
	{"hal", module + "agent", nil, "a board knows nothing above it"},
	{"hal", module + "config", nil, "a board is configured by its own Config"},
	{"config", module + "agent", nil, "config is below everything"},
	{"config", module + "media", nil, "config is below everything"},
	{"config", module + "cloud", nil, "config is below everything"},
	{"agent", module + "cmd", nil, "programs use the agent, not the other way round"},
	{"agent", module + "hal/", nil, "concrete boards are named in cmd/camagent alone"},
	{"", "github.com/bluenviron/gortsplib", []string{"media/rtsp", "hal/onboard", "scripts"}, "gortsplib panics and is frozen: one package stands around its server, one around its client"},
	{"", "github.com/eclipse/paho", []string{"cloud/link"}, "the MQTT client has one home with its guards"},
	{"", "github.com/flynn/noise", []string{"cloud/channel", "cloud/bind"}, "handshakes are written once"},
	{"", "filippo.io/age", []string{"cloud/seal"}, "sealing has one home"},
	{"", "github.com/go-jose", []string{"cloud/seal"}, "statements have one home"},
	{"", "github.com/minio", []string{"cmd/camcloud", "scripts"}, "no bucket keys, so no signer, on the device"},
	{"", "github.com/nats-io", []string{"cmd/camcloud"}, "the broker belongs to the cloud"},
	{"", "github.com/spf13/viper", []string{"config"}, "configuration is read in one place and handed down"},
	{"hal", "go.uber.org", []string{"hal/pipe"}, "boards report errors; only a child's standard error is logged"},
}

func (r rule) broken(pkg, imported string) bool {
	if !within(pkg, r.from) || !strings.HasPrefix(imported, r.target) {
		return false
	}
	for _, e := range r.except {
		if within(pkg, e) {
			return false
		}
	}
	return true
}

func within(pkg, prefix string) bool {
	return prefix == "" || pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
}

// halItself may import the standard library alone.
func halItself(pkg, imported string) bool {
	return pkg == "hal" && strings.Contains(strings.Split(imported, "/")[0], ".")
}

func TestLayers(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return errOrSkip(err)
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			seen++
			if halItself(pkg, imported) {
				t.Errorf("%s imports %s: hal imports the standard library alone, so that any board can build on it", path, imported)
			}
			for _, r := range rules {
				if r.broken(pkg, imported) {
					t.Errorf("%s imports %s: %s", path, imported, r.why)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Fatalf("only %d imports seen: does the walk work?", seen)
	}
}

func errOrSkip(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}
