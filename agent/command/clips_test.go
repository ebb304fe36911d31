package command

import (
	"strings"
	"testing"

	"iid2secure.nl/camagent/cloud"
)

func TestS4_ArgumentsOfClipsAreChecked(t *testing.T) {
	t.Parallel()
	const name = "20260102T030405.000Z-aaaaaaaa"
	good := []interface{ Validate() error }{
		&ClipsQuery{}, &ClipsQuery{Limit: 1000, From: "2026-01-02T03:04:05Z", To: "2026-01-02T03:04:05.1Z"},
		&ClipsPiece{Name: name, Part: PartClip, Length: 1}, &ClipsPiece{Name: name, Part: PartManifest, Offset: 1 << 40, Length: MaxClipsPiece},
		&ClipsPiece{Name: name, Part: PartGap, Length: 1},
		&ClipsNames{Names: []string{name}},
	}
	for _, a := range good {
		if err := a.Validate(); err != nil {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for says, a := range map[string]interface{ Validate() error }{
		"limit: is -1":             &ClipsQuery{Limit: -1},
		"from: is \"soon\"":        &ClipsQuery{From: "soon"},
		"to: is \"2026\"":          &ClipsQuery{To: "2026"},
		"from: is not before to":   &ClipsQuery{From: "2026-01-02T03:04:05Z", To: "2026-01-02T03:04:05Z"},
		"name: ":                   &ClipsPiece{Name: "../../etc/passwd", Part: PartClip, Length: 1},
		"part: is \"key\"":         &ClipsPiece{Name: name, Part: "key", Length: 1},
		"offset: is -1":            &ClipsPiece{Name: name, Part: PartClip, Offset: -1, Length: 1},
		"length: is 65537":         &ClipsPiece{Name: name, Part: PartClip, Length: MaxClipsPiece + 1},
		"length: is 0":             &ClipsPiece{Name: name, Part: PartClip},
		"names: 0 of them":         &ClipsNames{},
		"names: 501 of them":       &ClipsNames{Names: make([]string, MaxClipsNames+1)},
		"names: \"x\" is not a cl": &ClipsNames{Names: []string{name, "x"}},
	} {
		if err := a.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
}

// S5: whatever a member sends, what is let in keeps its bounds.
func FuzzClips(f *testing.F) {
	f.Add([]byte(`{"name":"20260102T030405.000Z-aaaaaaaa","part":"clip","offset":0,"length":65536}`))
	f.Add([]byte(`{"before":"x","from":"2026-01-02T03:04:05Z","to":"2027-01-02T03:04:05+01:00","limit":1000}`))
	f.Add([]byte(`{"names":["20260102T030405.000Z-aaaaaaaa"]}`))
	f.Fuzz(func(t *testing.T, args []byte) {
		var p ClipsPiece
		if decode(args, &p) == nil && (p.Offset < 0 || p.Length < 1 || p.Length > MaxClipsPiece || len(p.Name) != cloud.ClipNameLen) {
			t.Fatalf("%+v", p)
		}
		var q ClipsQuery
		if decode(args, &q) == nil && (q.Limit < 0 || q.Limit > 1000) {
			t.Fatalf("%+v", q)
		}
		var n ClipsNames
		if decode(args, &n) == nil && (len(n.Names) == 0 || len(n.Names) > MaxClipsNames) {
			t.Fatalf("%+v", n)
		}
	})
}
