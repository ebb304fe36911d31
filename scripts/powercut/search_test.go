//go:build powercut

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/cloud/seal"
	"iid2secure.nl/camagent/scripts/powercut/audit"
)

const (
	needleSize = 16
	needleStep = 256 // a needle for so many bytes of a clip
	blockSize  = 4096
)

// needles are bytes that are looked for, by their first eight. The filter, by a hash
// of these, is asked first: nearly all that lies on a card is not looked for.
type needles struct {
	by     map[uint64][]needle
	filter []bool
}

type needle struct {
	what  string
	bytes []byte
}

func newNeedles() needles { return needles{map[uint64][]needle{}, make([]bool, 1<<20)} }

func slot(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 44 }

// add leaves out what is so regular that it may lie anywhere.
func (n needles) add(what string, b []byte) {
	kinds := map[byte]bool{}
	for _, c := range b {
		kinds[c] = true
	}
	if len(b) < needleSize || len(kinds) < 6 {
		return
	}
	key := binary.BigEndian.Uint64(b)
	n.by[key] = append(n.by[key], needle{what, b})
	n.filter[slot(key)] = true
}

// find returns what lies in hay, each kind once.
func (n needles) find(hay []byte, found map[string]bool) {
	var key uint64
	for i, c := range hay {
		key = key<<8 | uint64(c)
		if !n.filter[slot(key)] || i < 7 {
			continue
		}
		for _, d := range n.by[key] {
			if bytes.HasPrefix(hay[i-7:], d.bytes) {
				found[d.what] = true
			}
		}
	}
}

// findIn reads a whole file, or image: what was removed there is found, too.
func (n needles) findIn(file string) (found map[string]bool, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	found = map[string]bool{}
	zero := make([]byte, blockSize)
	var hay []byte // blocks that follow one another and are not empty
	for b := make([]byte, blockSize); ; {
		k, err := io.ReadFull(f, b)
		if k > 0 && !bytes.Equal(b[:k], zero[:k]) {
			hay = append(hay, b[:k]...)
			size += int64(k)
		} else if len(hay) > 0 || err != nil {
			n.find(hay, found)
			hay = hay[:0]
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			n.find(hay, found)
			return found, size, nil
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

// search looks through the raw card and flash for anything readable of the clips,
// and for keys on the card: on the flash the camera has its own. P5, S8.
func (v *victim) search(keys audit.Keys, r audit.Report) {
	t := v.t
	t.Helper()
	footage, secrets, sealed := newNeedles(), newNeedles(), newNeedles()
	for i, c := range r.Clips {
		b, err := os.ReadFile(c.Path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(c.Path, v.card.dir) {
			sealed.add(c.Name, b[len(b)/2:][:needleSize])
		}
		plain, err := seal.Open(bytes.NewReader(b), keys.Secret)
		if err != nil {
			t.Fatal(err)
		}
		b, err = io.ReadAll(plain)
		if err != nil && !c.Details.Cut {
			t.Fatal(err)
		}
		for at := 0; at+needleSize <= len(b); at += needleStep {
			footage.add(fmt.Sprintf("bytes of clip %d", i), b[at:at+needleSize])
		}
		footage.add("a fragment's head", []byte("moof\x00\x00\x00\x10mfhd\x00\x00\x00\x00"))
		found := map[string]bool{}
		footage.find(b, found)
		if !found[fmt.Sprintf("bytes of clip %d", i)] || !found["a fragment's head"] {
			t.Errorf("the search finds nothing in clip %d, decrypted on purpose", i)
		}
	}
	secrets.add("the owner's key", []byte(keys.Secret.Reveal())[20:])
	files, err := filepath.Glob(v.s.Path("camera", "state", "identity", "*.key"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: the camera has no identity", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if block, _ := pem.Decode(b); block != nil {
			secrets.add(filepath.Base(f), block.Bytes[len(block.Bytes)-needleSize:])
		}
		for at := 0; at+needleSize <= len(b); at += needleSize {
			if !bytes.Contains(b[at:at+needleSize], []byte("----")) {
				secrets.add(filepath.Base(f), b[at:at+needleSize])
			}
		}
	}
	v.card.sync()
	v.flash.sync()
	for _, s := range []struct {
		what, where string
		needles
	}{
		{"footage", v.card.image, footage}, {"footage", v.flash.image, footage}, {"a secret", v.card.image, secrets},
	} {
		found, size, err := s.findIn(s.where)
		if err != nil {
			t.Fatal(err)
		}
		for what := range found {
			t.Errorf("%s on %s, %d bytes: %s", s.what, filepath.Base(filepath.Dir(s.where)), size, what)
		}
	}
	// What does lie there is found, on the card and on the flash.
	own, _, err := secrets.findIn(v.flash.image)
	if err != nil || len(own) == 0 {
		t.Errorf("%v: the camera's own key is not found on its flash: what is searched there?", err)
	}
	found, size, err := sealed.findIn(v.card.image)
	if err != nil || len(sealed.by) == 0 || len(found) < len(sealed.by) {
		t.Errorf("%v: of %d sealed clips %d are found on the card: what is searched there?", err, len(sealed.by), len(found))
	}
	t.Logf("%d kinds of bytes looked for in %.1f MB of the raw card", len(footage.by)+len(secrets.by), float64(size)/1e6)
}
