package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud"
)

// R2, R3: a rename that is cut on a FAT leaves the new name without bytes beside
// the whole file; nothing is lost by that.
func TestR2_R3_RenameCutOnAFAT(t *testing.T) {
	t.Parallel()
	name := nameAt(0)
	hour := filepath.Join("pending", "routine", hourOf(name)) + "/"
	stored := filepath.Join("uploaded", hourOf(name)) + "/"
	gap := nameAt(1) + cloud.ExtGap
	part := "open/" + name + extClip + extPart
	for what, c := range map[string]struct {
		files map[string]string
		want  map[string]string // files; empty: it is not there
	}{
		"a manifest": {map[string]string{part: "clip", hour + name + extManifest: "", hour + name + extManifest + extTmp: "manifest"},
			map[string]string{hour + name + extManifest: "manifest", hour + name + extClip: "clip", part: ""}},
		"a manifest of which nothing is left": {map[string]string{part: "clip", hour + name + extManifest: "", hour + name + extManifest + extTmp: ""},
			map[string]string{hour + name + extManifest: "", part: "clip"}},
		"a clip": {map[string]string{part: "clip", hour + name + extManifest: "manifest", hour + name + extClip: ""},
			map[string]string{hour + name + extManifest: "manifest", hour + name + extClip: "clip", part: ""}},
		"a gap": {map[string]string{hour + gap: "", hour + gap + extPart: "gap"},
			map[string]string{hour + gap: "gap", hour + gap + extPart: ""}},
		"a clip's release": {map[string]string{hour + name + extClip: "clip", hour + name + extManifest: "manifest", stored + name + extClip: ""},
			map[string]string{hour + name + extClip: "clip", hour + name + extManifest: "manifest", stored + name + extClip: ""}},
		"a manifest's release": {map[string]string{stored + name + extClip: "clip", hour + name + extManifest: "manifest", stored + name + extManifest: ""},
			map[string]string{stored + name + extClip: "clip", stored + name + extManifest: "manifest", hour + name + extManifest: ""}},
		"a temporary file alone": {map[string]string{part: "clip", hour + name + extManifest + extTmp: "manifest"},
			map[string]string{hour + name + extManifest: "", part: "clip"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "card")
			for path, data := range c.files {
				path = filepath.Join(dir, path)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
			}
			for range 2 { // a second start changes nothing
				s, err := Open(dir, Config{})
				require.NoError(t, err)
				require.NoError(t, s.Close())
				for path, want := range c.want {
					data, err := os.ReadFile(filepath.Join(dir, path))
					require.Equal(t, want == "", os.IsNotExist(err), path)
					require.Equal(t, want, string(data), path)
				}
			}
		})
	}
}
