// Package camagent holds only the test of the layers: which package may import which.
package camagent

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
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
	{"", "github.com/minio", []string{"cmd/camcloud", "cmd/camctl/internal/bucket", "scripts"}, "no bucket keys, so no signer, on the device"},
	{"", "github.com/nats-io", []string{"cmd/camcloud"}, "the broker belongs to the cloud"},
	{"", "github.com/spf13/viper", []string{"config"}, "configuration is read in one place and handed down"},
}

// outside is what the packages below hal may import beside the standard library
// and package hal: a board is small, and knows nothing of others.
var outside = []struct {
	target string
	in     []string // packages; none: all
}{
	{"golang.org/x/sys/unix", nil},
	{"github.com/bluenviron/mediacommon/v2/pkg/codecs", nil},
	{module + "hal/internal", nil},
	{"go.uber.org/zap", []string{"hal/pipe"}}, // a child's standard error is logged
	{"go.yaml.in/yaml/v3", []string{"hal/sim"}},
	{"github.com/bluenviron/gortsplib/v4", []string{"hal/onboard"}},
	{"github.com/pion/rtp", []string{"hal/onboard"}},
}

// boardMay tells whether a package below hal may import another.
func boardMay(pkg, imported string) bool {
	if !strings.HasPrefix(pkg, "hal/") || !strings.Contains(strings.Split(imported, "/")[0], ".") ||
		imported == module+"hal" {
		return true
	}
	board := strings.Join(strings.Split(pkg, "/")[:2], "/")
	if within(imported, module+board) {
		return true
	}
	for _, o := range outside {
		if within(imported, o.target) && (o.in == nil || slices.Contains(o.in, board)) {
			return true
		}
	}
	return false
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
			if !boardMay(pkg, imported) {
				t.Errorf("%s imports %s: a board is small: see outside in layers_test.go", path, imported)
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

func TestBoardMay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pkg, imported string
		may           bool
	}{
		{"hal/sim", "go.yaml.in/yaml/v3", true},
		{"hal/pipe", "go.yaml.in/yaml/v3", false},
		{"hal/sim", module + "hal", true},
		{"hal/sim", module + "hal/pipe", false},
		{"hal/sim", module + "hal/sim/internal/h264", true},
		{"hal/peripheral/internal/gpio", module + "hal/peripheral/internal/sysfs", true},
		{"hal/v4l2", module + "hal/internal/kernel", true},
		{"hal/v4l2", "golang.org/x/sys/unix", true},
		{"hal/v4l2", "golang.org/x/net/html", false},
		{"hal/simpler", module + "hal/sim", false},
		{"agent", "go.uber.org/zap", true},
	} {
		if boardMay(c.pkg, c.imported) != c.may {
			t.Errorf("%s, %s: want %v", c.pkg, c.imported, c.may)
		}
	}
}

func errOrSkip(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}
