package spool

import (
	"encoding/hex"

	"iid2secure.nl/camagent/cloud"
)

// signedSum takes the hash of a clip of that name and size out of its manifest,
// so that footage need not be read only to be hashed again: the store checks
// what it is sent. The signature is not looked at here, for a wrong hash does no
// harm: then the store refuses the file, and it is read.
func signedSum(manifest []byte, name string, size int64) (sum [32]byte, ok bool) {
	var m cloud.Manifest
	if !payloadOf(manifest, &m) || m.Name != name || m.Size != size {
		return sum, false
	}
	n, err := hex.Decode(sum[:], []byte(m.SHA256[:min(len(m.SHA256), 64)]))
	return sum, err == nil && n == len(sum) && len(m.SHA256) == 64
}
