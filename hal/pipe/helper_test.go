package pipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"iid2secure.nl/camagent/hal"
)

// TestMain runs the tests; or, started by one of them, plays a sidecar.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "sidecar" {
		playSidecar(os.Args[2])
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// tool returns a program of Debian's, or fails naming its package.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt install %s", name, pkg)
	}
	return path
}

// sample is an H.264 stream and what is in it: for each access unit its NAL
// units, without delimiters, parameter sets first.
type sample struct {
	name  string
	bytes []byte
	units [][][]byte
}

// encodings are what cameras write: x264 stands in for them, and is the better
// test as it uses all of High profile.
var encodings = []struct {
	name, x264 string
	change     func([]byte) []byte
}{
	{"one slice, delimiters", "aud=1", nil},
	{"four slices, delimiters", "aud=1:slices=4", nil},
	{"four slices, no delimiters", "slices=4", nil},
	{"as rpicam-vid --inline", "slices=1", withoutSEI},
	{"parameter sets once", "slices=1", paramsOnce},
	{"parameter sets once, four slices", "slices=4", paramsOnce},
}

// withoutSEI leaves x264's own message out.
func withoutSEI(b []byte) []byte {
	return rewrite(b, func(_ int, n []byte) bool { return n[0]&31 != hal.NALSEI })
}

// paramsOnce leaves out all parameter sets but the first, as an encoder does
// that is not told to repeat them.
func paramsOnce(b []byte) []byte {
	return rewrite(b, func(i int, n []byte) bool { return i < 2 || n[0]&31 != hal.NALSPS && n[0]&31 != hal.NALPPS })
}

func rewrite(b []byte, keep func(i int, nal []byte) bool) (out []byte) {
	i := 0
	for n := range hal.SplitAnnexB(b) {
		if keep(i, n) {
			out = append(append(out, 0, 0, 0, 1), n...)
		}
		i++
	}
	return out
}

const pictures = 60 // of every sample, with a key frame every 20

var samples = sync.OnceValues(func() ([]sample, error) {
	var list []sample
	for _, e := range encodings {
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2.4",
			"-vf", "noise=alls=8:allf=t,format=yuv420p", "-c:v", "libx264", "-profile:v", "high", "-preset", "veryfast",
			"-g", "20", "-keyint_min", "20", "-sc_threshold", "0", "-bf", "0", "-b:v", "400k",
			"-x264-params", e.x264, "-f", "h264", "-").Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		if e.change != nil {
			out = e.change(out)
		}
		list = append(list, sample{e.name, out, reference(out)})
	}
	return list, nil
})

func encoded(t testing.TB) []sample {
	t.Helper()
	tool(t, "ffmpeg", "ffmpeg")
	list, err := samples()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if len(s.units) != pictures {
			t.Fatalf("%s: %d pictures, want %d", s.name, len(s.units), pictures)
		}
	}
	return list
}

// reference takes a whole stream apart, in its own way: by all NAL units, a
// picture beginning with each first_mb_in_slice of 0.
func reference(b []byte) (units [][][]byte) {
	var params, before, now [][]byte
	flush := func() {
		if now != nil {
			units = append(units, now)
		}
	}
	var sps, pps []byte
	for n := range hal.SplitAnnexB(b) {
		switch n[0] & 31 {
		case 9:
		case 7:
			sps = n
			params = append(params, n)
		case 8:
			pps = n
			params = append(params, n)
		case 1, 5:
			if n[1]&0x80 == 0 {
				now = append(now, n)
				continue
			}
			flush()
			if n[0]&31 == 5 && params == nil {
				params = [][]byte{sps, pps}
			}
			now = append(append(params, before...), n)
			params, before = nil, nil
		default:
			before = append(before, n)
		}
	}
	flush()
	return units
}

// nals lists an access unit's NAL units.
func nals(au *hal.AccessUnit) (list [][]byte) {
	for n := range au.NALs() {
		list = append(list, n)
	}
	return list
}

// same compares an access unit with the reference.
func same(t *testing.T, i int, au *hal.AccessUnit, want [][]byte) {
	t.Helper()
	got := nals(au)
	if len(got) != len(want) {
		t.Fatalf("picture %d has %d NAL units, want %d", i, len(got), len(want))
	}
	for k := range got {
		if !bytes.Equal(got[k], want[k]) {
			t.Fatalf("picture %d: NAL unit %d (type %d, %d bytes) differs from the source's (type %d, %d bytes)",
				i, k, got[k][0]&31, len(got[k]), want[k][0]&31, len(want[k]))
		}
	}
	if au.Key != (i%20 == 0) || au.Key != (au.Params > 0) {
		t.Fatalf("picture %d: key %v, %d bytes of parameter sets", i, au.Key, au.Params)
	}
}

// limit ends a test that hangs.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// board makes a board with one main stream, and opens it.
func openMain(t *testing.T, src Source) (*Board, hal.VideoStream) {
	t.Helper()
	src.Stream = "main"
	b, err := New(Config{Sources: []Source{src}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, s
}

// drain reads until the stream ends.
func drain(t *testing.T, s hal.VideoStream) (list []hal.AccessUnit, err error) {
	t.Helper()
	ctx := limit(t)
	for {
		au, err := s.Next(ctx)
		if err != nil {
			return list, err
		}
		list = append(list, au)
	}
}

// whole checks that list is the sample, complete.
func whole(t *testing.T, list []hal.AccessUnit, want [][][]byte) {
	t.Helper()
	if len(list) != len(want) {
		t.Errorf("%d pictures, want %d", len(list), len(want))
	}
	for i := range list[:min(len(list), len(want))] {
		au := &list[i]
		same(t, i, au, want[i])
		if au.Seq != uint64(i) || au.Lost != 0 {
			t.Fatalf("picture %d has number %d, %d lost", i, au.Seq, au.Lost)
		}
		if i > 0 && !au.Time.After(list[i-1].Time) {
			t.Fatalf("picture %d was captured at %v, the one before at %v", i, au.Time, list[i-1].Time)
		}
	}
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream.h264")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// feedFIFO writes to a FIFO as another program would, in pieces, and closes it.
func feedFIFO(t *testing.T, path string, content []byte, piece int) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		for err == nil && len(content) > 0 {
			var n int
			n, err = w.Write(content[:min(piece, len(content))])
			content = content[n:]
		}
		if w != nil {
			w.Close()
		}
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil && !errors.Is(err, syscall.EPIPE) {
			t.Error("feeding:", err)
		}
	})
}
