package spool

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const nameLayout = "20060102T150405.000Z"

var (
	stemPattern   = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[a-z0-9]{8}$`)
	suffixPattern = regexp.MustCompile(`^(\.[a-z0-9]{1,8}){1,3}$`)
)

// ClipName makes the name of a clip, or of a snapshot before its endings, that
// starts at start: 20060102T150405.000Z-<8 random characters>, UTC.
func ClipName(start time.Time) string {
	return start.UTC().Format(nameLayout) + "-" + strings.ToLower(rand.Text()[:8])
}

// ClipStart reads the start out of a name made by ClipName, with any endings.
func ClipStart(name string) (time.Time, error) {
	if stem := stemOf(name); !stemPattern.MatchString(stem) {
		return time.Time{}, fmt.Errorf("%w: %.64q does not begin like 20060102T150405.000Z-abcdefgh", ErrName, name)
	}
	t, err := time.Parse(nameLayout, name[:len(nameLayout)])
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %.64q: no such time", ErrName, name)
	}
	return t, nil
}

// stemLen is the length of a name of ClipName.
const stemLen = len(nameLayout) + 1 + 8

func stemOf(name string) string { return name[:min(len(name), stemLen)] }

// hourOf is the folder of a valid name.
func hourOf(name string) string { return name[:8] + name[9:11] }

// checkClip refuses what ClipName would not make: no name can leave its folder.
func checkClip(name string) error {
	if len(name) != stemLen {
		return fmt.Errorf("%w: %.64q is not of the form 20060102T150405.000Z-abcdefgh", ErrName, name)
	}
	_, err := ClipStart(name)
	return err
}

// checkSingle refuses names that are not a clip name with one to three plain
// endings, and the endings that have a meaning of their own.
func checkSingle(name string) error {
	if _, err := ClipStart(name); err != nil {
		return err
	}
	suffix := name[stemLen:]
	if !suffixPattern.MatchString(suffix) || reservedSuffix(suffix) {
		return fmt.Errorf("%w: ending %.32q is not allowed", ErrName, suffix)
	}
	return nil
}

func reservedSuffix(s string) bool {
	return strings.HasSuffix(s, extPart) || strings.HasSuffix(s, extTmp) || s == extManifest || s == extClip
}
