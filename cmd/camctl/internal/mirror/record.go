package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/durable"

	"iid2secure.nl/camagent/cmd/camctl/internal/verify"
)

// Record is <name>.json beside a decrypted clip: its manifest, opened.
type Record struct {
	cloud.Statement
	Stream   string            `json:"stream"`
	Sequence uint64            `json:"sequence"`
	Name     string            `json:"name"`
	Size     int64             `json:"size"`            // of the sealed file
	SHA256   string            `json:"sha256"`          // of the sealed file, hex
	Prev     string            `json:"prev"`            // manifest_sha256 of the clip before
	Manifest string            `json:"manifest_sha256"` // of this clip's manifest, hex
	Details  cloud.ClipDetails `json:"details"`
}

// NewRecord makes the record of a clip that has been verified.
func NewRecord(c verify.Clip, d cloud.ClipDetails) Record {
	return Record{Statement: c.Statement, Stream: c.Stream, Sequence: c.Sequence, Name: c.Name, Size: c.Size,
		SHA256: c.SHA256, Prev: c.Prev, Manifest: c.Hash, Details: d}
}

// clip is what the chain needs of a record.
func (r Record) clip() verify.Clip {
	return verify.Clip{Hash: r.Manifest, Manifest: cloud.Manifest{Statement: r.Statement,
		Stream: r.Stream, Sequence: r.Sequence, Name: r.Name, Prev: r.Prev}}
}

// readRecords finds the clips that are in dir already: a clip counts when its
// record is there, which is written after it. Other files are left alone.
func readRecords(dir string, camera verify.Camera) ([]Record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []Record
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !verify.Name(name) {
			continue
		}
		var r Record
		path := filepath.Join(dir, e.Name())
		if _, err := durable.ReadJSON(path, &r); err != nil || r.Name != name {
			return nil, fmt.Errorf("%s is damaged: remove it, and the clip is fetched again", path)
		}
		if r.Serial == camera.Serial && r.BindID == camera.BindID {
			out = append(out, r)
		}
	}
	return out, nil
}
