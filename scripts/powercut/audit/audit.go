// Package audit reads what a camera has left behind, on its card, in the storage
// or in both, with the owner's keys and without any code that reads clips for
// owners: every file is decrypted, measured against its manifest and taken apart,
// and what the manifests of one boot claim is laid side by side.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/bind"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/cloud/seal"
)

// Keys are what the owner of one camera knows.
type Keys struct {
	Camera bind.Camera
	Secret cloud.Secret // age identity
}

// ReadKeys reads camctl's folder, in which there is one camera.
func ReadKeys(dir string) (k Keys, err error) {
	list, err := filepath.Glob(filepath.Join(dir, "cameras", "*.json"))
	if err != nil || len(list) != 1 {
		return k, fmt.Errorf("%s: %d cameras, want one", dir, len(list))
	}
	if _, err := durable.ReadJSON(list[0], &k.Camera); err != nil {
		return k, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "age.key"))
	if err != nil {
		return k, err
	}
	for l := range strings.Lines(string(b)) {
		if strings.HasPrefix(l, "AGE-SECRET-KEY-1") {
			k.Secret = cloud.NewSecret(strings.TrimSpace(l))
			return k, nil
		}
	}
	return k, errors.New("age.key holds no secret")
}

// Clip is one that is whole.
type Clip struct {
	cloud.Manifest
	Details      cloud.ClipDetails
	Hash         string // of the manifest's text
	Path         string // of the sealed file, where it was found first
	Copies       int
	Began, Ended time.Time
	Pictures     int // in the file
}

// Gap is a signed gap.
type Gap struct {
	cloud.Gap
	Details cloud.GapDetails
	Hash    string
}

// Report is what was found.
type Report struct {
	Clips  []Clip // in the order of stream and chain
	Gaps   []Gap
	Faults []string // files that are not what they should be
}

// Read reads everything below dirs. What is being written is left out.
func (k Keys) Read(dirs ...string) (Report, error) {
	a := auditor{Keys: k, clips: map[string]*Clip{}, gaps: map[string]*Gap{}, sealed: map[string][]string{}}
	for _, d := range dirs {
		if err := filepath.WalkDir(d, a.visit); err != nil {
			return Report{}, err
		}
	}
	a.pair()
	r := Report{Faults: a.faults}
	for _, c := range a.clips {
		r.Clips = append(r.Clips, *c)
	}
	for _, g := range a.gaps {
		r.Gaps = append(r.Gaps, *g)
	}
	slices.SortFunc(r.Clips, func(a, b Clip) int {
		return strings.Compare(a.Stream, b.Stream)<<32 + int(a.Sequence) - int(b.Sequence)
	})
	slices.SortFunc(r.Gaps, func(a, b Gap) int {
		return strings.Compare(a.Stream, b.Stream)<<32 + int(a.Sequence) - int(b.Sequence)
	})
	return r, nil
}

type auditor struct {
	Keys
	clips  map[string]*Clip
	gaps   map[string]*Gap
	sealed map[string][]string // paths by name
	faults []string
}

func (a *auditor) fault(format string, args ...any) {
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

func (a *auditor) visit(path string, d fs.DirEntry, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist): // released meanwhile
		return nil
	case err != nil:
		return err
	case d.IsDir() && d.Name() == "open": // what is being written
		return fs.SkipDir
	case d.IsDir():
		return nil
	}
	name := d.Name()
	if stem, ok := strings.CutSuffix(name, cloud.ExtClip); ok && named(stem) {
		a.sealed[stem] = append(a.sealed[stem], path)
	}
	if stem, ok := strings.CutSuffix(name, cloud.ExtGap); ok && named(stem) {
		return a.gap(path)
	}
	if stem, ok := strings.CutSuffix(name, cloud.ExtManifest); ok && named(stem) {
		return a.manifest(path)
	}
	return nil
}

func named(stem string) bool {
	_, err := cloud.ParseClipName(stem)
	return err == nil
}

// read reads a signed file; one that has gone meanwhile is empty.
func (a *auditor) read(path, kind string, v any) (token string, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	token = strings.TrimSpace(string(b))
	if err := seal.Verify(kind, a.Camera.Signing, token, v); err != nil {
		a.fault("%s: %v", filepath.Base(path), err)
		return "", nil
	}
	return token, nil
}

func (a *auditor) details(name string, sealed []byte, v any) bool {
	b, err := seal.OpenBytes(sealed, a.Secret)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		a.fault("%s: details: %v", name, err)
	}
	return err == nil
}

func (a *auditor) manifest(path string) error {
	var c Clip
	token, err := a.read(path, cloud.TypManifest, &c.Manifest)
	if err != nil || token == "" {
		return err
	}
	c.Hash = seal.Hash(token)
	if known := a.clips[c.Name]; known != nil {
		if known.Hash != c.Hash {
			a.fault("%s: two manifests", c.Name)
		}
		return nil
	}
	if filepath.Base(path) != c.Name+cloud.ExtManifest || c.Serial != a.Camera.Serial || c.BindID != a.Camera.BindID || c.Epoch != a.Camera.Epoch {
		a.fault("%s: of another clip, camera or binding", filepath.Base(path))
		return nil
	}
	if !a.details(c.Name, c.Manifest.Details, &c.Details) {
		return nil
	}
	if c.Began, err = time.Parse(time.RFC3339, c.Details.Started); err != nil || c.Details.DurationMS < 0 {
		a.fault("%s: begins %q and lasts %d ms", c.Name, c.Details.Started, c.Details.DurationMS)
	}
	c.Ended = c.Began.Add(time.Duration(c.Details.DurationMS) * time.Millisecond)
	a.clips[c.Name] = &c
	return nil
}

func (a *auditor) gap(path string) error {
	var g Gap
	token, err := a.read(path, cloud.TypGap, &g.Gap)
	if err != nil || token == "" {
		return err
	}
	g.Hash = seal.Hash(token)
	if known := a.gaps[g.Name]; known != nil && known.Hash != g.Hash {
		a.fault("%s: two gaps of one name", g.Name)
	}
	if a.details(g.Name, g.Gap.Details, &g.Details) {
		a.gaps[g.Name] = &g
	}
	return nil
}

// pair brings manifests and sealed files together.
func (a *auditor) pair() {
	for name, paths := range a.sealed {
		c := a.clips[name]
		if c == nil {
			a.fault("%s: a clip without manifest", name)
			continue
		}
		for _, p := range paths {
			if err := a.check(c, p); err != nil {
				a.fault("%s: %v", p, err)
				continue
			}
			c.Copies++
			if c.Path == "" {
				c.Path = p
			}
		}
	}
	for name, c := range a.clips {
		if c.Copies == 0 {
			a.fault("%s: a manifest (%d of %s) without a whole clip", name, c.Sequence, c.Stream)
			delete(a.clips, name)
		}
	}
}

// check compares one sealed file with its manifest, and opens it.
func (a *auditor) check(c *Clip, path string) error {
	sealed, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(sealed); int64(len(sealed)) != c.Size || hex.EncodeToString(sum[:]) != c.SHA256 {
		return fmt.Errorf("%d bytes are not the %d that were signed", len(sealed), c.Size)
	}
	plain, err := a.open(sealed, c.Details.Cut)
	if err != nil {
		return err
	}
	n, err := Pictures(plain)
	if err != nil {
		return err
	}
	c.Pictures = n
	if n != c.Details.Frames && (!c.Details.Cut || n < c.Details.Frames) {
		return fmt.Errorf("%d pictures, the manifest claims %d (cut: %v)", n, c.Details.Frames, c.Details.Cut)
	}
	return nil
}

// open decrypts; only what a power cut has closed may end early.
func (a *auditor) open(sealed []byte, cut bool) ([]byte, error) {
	r, err := seal.Open(strings.NewReader(string(sealed)), a.Secret)
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	if cut && errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return plain, err
}
