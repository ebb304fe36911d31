package command

import (
	"strings"
	"testing"
)

func TestS4_ArgumentsOfClipsAreChecked(t *testing.T) {
	t.Parallel()
	const name = "20260102T030405.000Z-aaaaaaaa"
	good := []interface{ Validate() error }{
		&ClipsQuery{}, &ClipsQuery{Limit: 1000, From: "2026-01-02T03:04:05Z", To: "2026-01-02T03:04:05.1Z"},
		&ClipsPiece{Name: name, Part: PartClip, Length: 1}, &ClipsPiece{Name: name, Part: PartManifest, Offset: 1 << 40, Length: MaxClipsPiece},
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
