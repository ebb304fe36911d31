package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/scripts/powercut/audit"
	"iid2secure.nl/camagent/scripts/stack"
)

const (
	kills      = 30
	killsApart = 2000 * time.Millisecond // at most
)

// TestR2_P5_CameraKilledAtRandomMoments kills a camera that records and uploads,
// again and again; what is on the card and in the storage must always be what was signed.
func TestR2_P5_CameraKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	st, args := startStorage(t)
	opt := withStorage(st, args)
	opt.Camera = map[string]any{"record": map[string]any{"clip_length": "2s"}}
	s := newStack(t, opt)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "main.gop=25", "main.bitrate=4000000", "microphone=on"); err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ReadKeys(s.Path("owner"))
	if err != nil {
		t.Fatal(err)
	}
	card := s.Path("camera", "card")
	violations := 0
	for i := range kills {
		after(t, 200*time.Millisecond+rand.N(killsApart))
		s.Camera.Kill()
		if err := s.StartCamera(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the card is recovered", func() bool { return recoveries(t, s) >= i+2 })
		if faults := settled(t, keys, card, st.opt.Dir); len(faults) > 0 {
			violations += len(faults)
			t.Errorf("after kill %d: %s", i+1, strings.Join(faults, "; "))
		}
	}
	r := stopAndAudit(t, s, keys, card, st.opt.Dir)
	everythingStored(t, r, st.opt.Dir)
	gaps, clips := len(r.Gaps), len(r.Clips)
	for _, b := range r.Boots("main") {
		b.Lossy = deviceLost(s)
		faults, _ := b.Frames()
		for _, f := range faults {
			violations++
			t.Error(f)
		}
	}
	searchCard(t, s, keys, r)
	t.Logf("%d kills; %d clips, %d gaps; %d violations", kills, clips, gaps, violations)
}

// recoveries counts how often the camera has taken hold of its card.
func recoveries(t *testing.T, s *stack.Stack) int {
	t.Helper()
	b, err := os.ReadFile(s.Camera.Log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "card ready")
}

// settled asks until the card is at rest between two commits: what is wrong is so
// for good if it stays.
func settled(t *testing.T, keys audit.Keys, dirs ...string) (faults []string) {
	t.Helper()
	for range 20 {
		r, err := keys.Read(dirs...)
		if err != nil {
			t.Fatal(err)
		}
		if faults = append(r.Faults, r.Chain()...); len(faults) == 0 {
			return nil
		}
		after(t, 50*time.Millisecond)
	}
	return faults
}

// stopAndAudit ends recording, waits until all is uploaded, and reads everything.
func stopAndAudit(t *testing.T, s *stack.Stack, keys audit.Keys, dirs ...string) audit.Report {
	t.Helper()
	if _, err := s.WaitLive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ctl(t.Context(), "set", "recording=off"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "everything uploaded", func() bool {
		st := status(t, s)
		return !st.Recording.Active && st.Upload.Pending == 0
	})
	r, err := keys.Read(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(r.Faults, r.Chain()...) {
		t.Error(f)
	}
	return r
}

// everythingStored looks whether each clip is in the storage, once.
func everythingStored(t *testing.T, r audit.Report, objects string) {
	t.Helper()
	stored := map[string]int{}
	err := filepath.WalkDir(objects, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			stored[strings.TrimSuffix(d.Name(), ".mp4.age")]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Clips {
		if stored[c.Name] != 1 {
			t.Errorf("%s is %d times in the storage", c.Name, stored[c.Name])
		}
	}
}

// searchCard looks on the card for anything readable: of clips that were
// decrypted for that, and of the camera's and the owner's keys. P5, S8.
func searchCard(t *testing.T, s *stack.Stack, keys audit.Keys, r audit.Report) {
	t.Helper()
	n, dir := needles{}, t.TempDir()
	for _, c := range r.Clips {
		if c.Details.Cut || len(n) > 500_000 {
			continue // ffprobe reads whole files
		}
		n.addFile(t, decrypted(t, keys, c, dir))
	}
	n.add("age secret", []byte(keys.Secret.Reveal()))
	files, err := filepath.Glob(s.Path("camera", "state", "identity", "*.key"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no identity", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(b); block != nil {
			n.add(filepath.Base(f), block.Bytes[len(block.Bytes)-16:])
			b = b[len("-----BEGIN PRIVATE KEY-----"):]
		}
		for at := 0; at+16 <= len(b); at += 16 {
			n.add(filepath.Base(f), b[at:at+16])
		}
	}
	size := n.searchTree(t, s.Path("camera", "card"))
	if size < 1<<20 {
		t.Errorf("only %d bytes searched", size)
	}
	t.Logf("%d needles, %.1f MB of the card searched", len(n), float64(size)/1e6)
}

func decrypted(t *testing.T, keys audit.Keys, c audit.Clip, dir string) string {
	t.Helper()
	f, err := os.Open(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := seal.Open(f, keys.Secret)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, c.Name+".mp4")
	w, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := io.Copy(w, plain); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", c.Name, err))
	}
	return out
}
