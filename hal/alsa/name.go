package alsa

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/hal"
)

// finder knows where the kernel lists its sound cards; tests have their own folders.
type finder struct {
	sys  system
	proc string // /proc/asound
	dev  string // /dev/snd
}

// direction of a device, as the last letter of its node tells it.
type direction byte

const (
	capture  direction = 'c'
	playback direction = 'p'
)

func (d direction) String() string {
	if d == capture {
		return "microphone"
	}
	return "speaker"
}

var nodeName = regexp.MustCompile(`^pcmC[0-9]+D[0-9]+([cp])$`)

// path returns the node of a configured name, which may change its number while
// the card is away.
func (f finder) path(name string, dir direction) (string, error) {
	if filepath.IsAbs(name) {
		return f.checkPath(name, dir)
	}
	rest, isHW := strings.CutPrefix(name, "hw:")
	card, device, both := strings.Cut(rest, ",")
	if !both {
		device = "0"
	}
	if _, err := strconv.ParseUint(device, 10, 8); err != nil || !isHW || card == "" || strings.Contains(card, "/") {
		return "", wrong(name, dir, "not of the form hw:CARD,DEVICE")
	}
	number, err := f.card(card)
	if err != nil {
		return "", err
	}
	path := filepath.Join(f.dev, fmt.Sprintf("pcmC%dD%s%c", number, device, dir))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: sound card %s has no %s %s (\"ls %s\" lists the devices: …c are microphones, …p speakers)", hal.ErrNotFound, card, dir, device, f.dev)
	}
	return path, nil
}

func (f finder) checkPath(path string, dir direction) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("%w: %s: want a sound device such as hw:0,0 (\"ls %s\" lists them)", hal.ErrNotFound, path, f.dev)
	}
	m := nodeName.FindStringSubmatch(filepath.Base(real))
	switch {
	case m == nil:
		return "", wrong(path, dir, "no sound device")
	case m[1][0] != byte(dir):
		return "", wrong(path, dir, "the other direction")
	}
	return real, nil
}

func wrong(name string, dir direction, is string) error {
	return fmt.Errorf("device %q: %w: is %s, want a %s such as hw:0,0 or /dev/snd/pcmC0D0%c", name, hal.ErrArgument, is, dir, dir)
}

// card finds a card's number by its number or name.
func (f finder) card(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return int(n), nil
	}
	var have []string
	ids, _ := filepath.Glob(filepath.Join(f.proc, "card[0-9]*", "id"))
	for _, path := range ids {
		b, _ := os.ReadFile(path)
		id := strings.TrimSpace(string(b))
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "card")); err == nil && id == name {
			return n, nil
		}
		have = append(have, id)
	}
	if len(have) == 0 {
		have = []string{"none"}
	}
	return 0, fmt.Errorf("%w: sound card %q: there are: %s", hal.ErrNotFound, name, strings.Join(have, ", "))
}
