package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"iid2secure.nl/camagent/cloud/identity"
)

// needles is a set of byte strings of at least 8 bytes, found in one pass: the
// first 8 bytes of each lead to its rest.
type needles map[uint64][]needle

type needle struct {
	what  string
	bytes []byte
}

func (n needles) add(what string, b []byte) {
	if len(b) < 8 {
		panic("a needle of " + strconv.Itoa(len(b)) + " bytes finds itself by chance")
	}
	k := binary.BigEndian.Uint64(b)
	n[k] = append(n[k], needle{what, b})
}

// find returns what of n lies in hay, at most a few of them.
func (n needles) find(hay []byte) (found []string) {
	if len(hay) < 8 {
		return nil
	}
	k := binary.BigEndian.Uint64(append([]byte{0}, hay[:7]...))
	for i := 7; i < len(hay); i++ {
		k = k<<8 | uint64(hay[i])
		for _, d := range n[k] {
			at := i - 7
			if len(hay)-at >= len(d.bytes) && string(hay[at:at+len(d.bytes)]) == string(d.bytes) {
				if found = append(found, fmt.Sprintf("%s at %d", d.what, at)); len(found) == 5 {
					return found
				}
			}
		}
	}
	return found
}

// addFile adds what must not be seen of one decrypted clip: its parameter sets,
// a 16-byte window of every frame for every 64 bytes, and its box headers. P5.
func (n needles) addFile(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames(t, file) {
		if f.pos+f.size > len(raw) {
			t.Fatalf("%s: frame %d lies outside the file", file, i)
		}
		b := raw[f.pos : f.pos+f.size]
		for at := 16; at+16 <= len(b); at += 64 {
			n.add(fmt.Sprintf("frame %d of %s", i, filepath.Base(file)), b[at:at+16])
		}
		if len(b) >= 32 {
			n.add(fmt.Sprintf("frame %d of %s", i, filepath.Base(file)), b[len(b)-16:])
		}
	}
	for _, box := range []string{"avcC", "mvhd", "trak"} {
		i := strings.Index(string(raw), box)
		if i < 4 {
			t.Fatalf("%s has no box %s", file, box)
		}
		n.add("box "+box, raw[i-4:i+12]) // its size, its type, and what follows
	}
	n.add("box moof", []byte("moof\x00\x00\x00\x10mfhd\x00\x00\x00\x00")) // every fragment begins so
	n.addParameters(t, raw)
}

// addParameters adds SPS and PPS as they stand in the avcC box (ISO/IEC 14496-15, 5.3.3.1).
func (n needles) addParameters(t *testing.T, raw []byte) {
	t.Helper()
	i := strings.Index(string(raw), "avcC") + 4 + 6
	size := int(binary.BigEndian.Uint16(raw[i:]))
	n.add("SPS", raw[i+2:i+2+size])
	i += 2 + size + 1
	size = int(binary.BigEndian.Uint16(raw[i:]))
	if size >= 8 {
		n.add("PPS", raw[i+2:i+2+size])
	} else { // shorter than a needle may be: with what stands in front of it
		n.add("PPS", raw[i+2+size-8:i+2+size])
	}
}

// addLabel adds the verification code, as it is stored, shown and typed. P1.
func (n needles) addLabel(t *testing.T, qr string) {
	t.Helper()
	q, err := identity.ParseQR(qr)
	if err != nil {
		t.Fatal(err)
	}
	c := q.Code.Reveal()
	n.add("code", []byte(c))
	n.add("code", []byte(strings.ToLower(c)))
	n.add("code with dashes", []byte(strings.Join([]string{c[:4], c[4:8], c[8:12], c[12:]}, "-")))
}

type packet struct{ pos, size int }

// frames are the places of the pictures in a file.
func frames(t *testing.T, file string) []packet {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", "v",
		"-show_entries", "packet=pos,size", "-of", "json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Packets []struct{ Pos, Size string }
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Packets) == 0 {
		t.Fatalf("ffprobe: %v: %.200s", err, out)
	}
	var all []packet
	for _, p := range list.Packets {
		pos, err1 := strconv.Atoi(p.Pos)
		size, err2 := strconv.Atoi(p.Size)
		if err1 != nil || err2 != nil {
			t.Fatalf("ffprobe: %+v", p)
		}
		all = append(all, packet{pos, size})
	}
	return all
}

// searchTree looks for n in every file below dir and in the names of files; it
// returns how many bytes it read.
func (n needles) searchTree(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size += int64(len(b))
		for _, f := range append(n.find(b), n.find([]byte(d.Name()))...) {
			t.Errorf("%s: %s", path, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
