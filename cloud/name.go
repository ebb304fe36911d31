package cloud

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The endings of a clip's two objects, the sealed file and its manifest, and of
// a signed gap.
const (
	ExtClip     = ".mp4.age"
	ExtManifest = ".jws"
	ExtGap      = ".gap.jws"
)

// ClipNameLen is the length of every clip's name, in bytes.
const ClipNameLen = len(clipTime) + 1 + 8

const clipTime = "20060102T150405.000Z"

var clipName = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[a-z0-9]{8}$`)

// ClipName makes the name of a clip, or of a snapshot before its ending, that
// begins at start: 20060102T150405.000Z-<8 random characters>.
func ClipName(start time.Time) string {
	return ClipTime(start) + "-" + strings.ToLower(rand.Text()[:8])
}

// ClipTime is how names of clips that begin at start begin; they sort by it.
func ClipTime(start time.Time) string { return start.UTC().Format(clipTime) }

// ParseClipName reads the start out of a clip's name without its ending. A name
// that it takes is also safe as the name of a file.
func ParseClipName(name string) (start time.Time, err error) {
	if clipName.MatchString(name) {
		start, err = time.Parse(clipTime, name[:len(clipTime)])
	}
	if err != nil || start.IsZero() {
		return time.Time{}, fmt.Errorf("%.64q is not a clip's name, as 20060102T150405.000Z-abcdefgh is", name)
	}
	return start, nil
}
