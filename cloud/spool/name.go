package spool

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"iid2secure.nl/camagent/cloud"
)

var suffixPattern = regexp.MustCompile(`^(\.[a-z0-9]{1,8}){1,3}$`)

// startOf reads the start out of a clip's name with any endings.
func startOf(name string) (time.Time, error) {
	t, err := cloud.ParseClipName(stemOf(name))
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrName, err)
	}
	return t, nil
}

const stemLen = cloud.ClipNameLen

func stemOf(name string) string { return name[:min(len(name), stemLen)] }

// hourOf is the folder of a valid name.
func hourOf(name string) string { return name[:8] + name[9:11] }

// checkClip refuses what is no clip's name: none can leave its folder.
func checkClip(name string) error {
	if len(name) != stemLen {
		return fmt.Errorf("%w: %.64q is not of the form 20060102T150405.000Z-abcdefgh", ErrName, name)
	}
	_, err := startOf(name)
	return err
}

// checkSingle refuses names that are not a clip name with one to three plain
// endings, and the endings that have a meaning of their own.
func checkSingle(name string) error {
	if _, err := startOf(name); err != nil {
		return err
	}
	suffix := name[stemLen:]
	if !suffixPattern.MatchString(suffix) || reservedSuffix(suffix) {
		return fmt.Errorf("%w: ending %.32q is not allowed", ErrName, suffix)
	}
	return nil
}

func reservedSuffix(s string) bool {
	return strings.HasSuffix(s, extPart) || strings.HasSuffix(s, extTmp) || s == extManifest || s == extClip || s == extNotes
}

const hourLayout = "2006010215"

type fileKind uint8

const (
	kindForeign fileKind = iota
	kindFile
	kindManifest
	kindPart
	kindNotes
	kindTemporary
	kindOdd // of such a name, but no regular file
)

// sortName tells what a file name stands for, and of which object.
func sortName(file string) (object string, kind fileKind) {
	if _, err := startOf(file); err != nil {
		return "", kindForeign
	}
	stem, suffix := file[:stemLen], file[stemLen:]
	switch {
	case suffix == extClip:
		return stem, kindFile
	case suffix == extManifest:
		return stem, kindManifest
	case suffix == extClip+extPart:
		return stem, kindPart
	case suffix == extNotes:
		return stem, kindNotes
	case suffix == extManifest+extTmp:
		return stem, kindTemporary
	case checkSingle(file) == nil:
		return file, kindFile
	}
	if single, ok := strings.CutSuffix(file, extPart); ok && checkSingle(single) == nil {
		return stem, kindTemporary
	}
	return "", kindForeign
}
