package evdev

import (
	"fmt"
	"math/bits"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// Find returns the file of the first input device that has key; device, if it
// is not empty, is its name ("gpio-keys") or "event3". root is the directory of
// sys and dev.
func Find(root, device string, key uint16) (path string, err error) {
	list := sysfs.List(filepath.Join("/", root, "sys/class/input"), "event[0-9]*")
	var there []string
	named := false
	for _, dir := range list {
		name, _ := sysfs.Read(filepath.Join(dir, "device/name"))
		there = append(there, fmt.Sprintf("%s %q", filepath.Base(dir), name))
		if device != "" && device != name && device != filepath.Base(dir) {
			continue
		}
		named = true
		if has, _ := sysfs.Read(filepath.Join(dir, "device/capabilities/key")); bitSet(has, key) {
			return filepath.Join("/", root, "dev/input", filepath.Base(dir)), nil
		}
	}
	all := "there is none"
	if len(there) > 0 {
		all = "there are " + strings.Join(there, ", ")
	}
	switch {
	case device != "" && named:
		return "", fmt.Errorf("%w: the input device %q has no key %d", hal.ErrNotFound, device, key)
	case device != "":
		return "", fmt.Errorf("%w: no input device %q; %s", hal.ErrNotFound, device, all)
	}
	return "", fmt.Errorf("%w: no input device has the key %d; %s", hal.ErrNotFound, key, all)
}

// bitSet tells whether a bitmap as sysfs prints it has a bit: hexadecimal
// words, each as long as this program's, the highest first.
func bitSet(bitmap string, bit uint16) bool {
	words := strings.Fields(bitmap)
	slices.Reverse(words)
	i := int(bit) / bits.UintSize
	if i >= len(words) {
		return false
	}
	w, err := strconv.ParseUint(words[i], 16, 64)
	return err == nil && w>>(bit%bits.UintSize)&1 == 1
}
