package onboard

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
)

// only leaves the tracks of one kind in a description (RFC 8866); without any it
// stays as it is.
func only(kind string, sdp []byte) []byte {
	var out []byte
	keep, found := true, false
	for line := range bytes.Lines(sdp) {
		if bytes.HasPrefix(line, []byte("m=")) {
			keep = bytes.HasPrefix(line[2:], []byte(kind+" "))
			found = found || keep
		}
		// Names and groups of tracks lead to tracks that are left out.
		if keep && !bytes.HasPrefix(line, []byte("a=mid:")) && !bytes.HasPrefix(line, []byte("a=group:")) {
			out = append(out, line...)
		}
	}
	if !found {
		return sdp
	}
	return out
}

// find returns the first track of a kind whose format is wanted.
func find[F format.Format](medias []*description.Media, kind description.MediaType) (track, F, bool) {
	for _, m := range medias {
		if m.Type != kind || m.IsBackChannel {
			continue
		}
		for _, f := range m.Formats {
			if want, ok := f.(F); ok {
				return track{m, f}, want, true
			}
		}
	}
	var none F
	return track{}, none, false
}

// codecs names the formats of a kind, for people; empty if there is none.
func codecs(medias []*description.Media, kind description.MediaType) string {
	var names []string
	for _, m := range medias {
		for _, f := range m.Formats {
			if m.Type != kind || m.IsBackChannel {
				continue
			}
			name := f.Codec()
			if g, ok := f.(*format.Generic); ok {
				name = fmt.Sprintf("%.40q", g.RTPMap())
			}
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
