package evdev

import (
	"fmt"
	"strconv"
)

// keys are codes that cameras, doorbells and their keyboards use, by the names
// of include/uapi/linux/input-event-codes.h.
var keys = map[string]uint16{
	"KEY_ESC":           1,
	"KEY_ENTER":         28,
	"KEY_SPACE":         57,
	"KEY_F1":            59,
	"KEY_F2":            60,
	"KEY_F3":            61,
	"KEY_F4":            62,
	"KEY_HOME":          102,
	"KEY_UP":            103,
	"KEY_LEFT":          105,
	"KEY_RIGHT":         106,
	"KEY_DOWN":          108,
	"KEY_MUTE":          113,
	"KEY_VOLUMEDOWN":    114,
	"KEY_VOLUMEUP":      115,
	"KEY_POWER":         116,
	"KEY_STOP":          128,
	"KEY_OPEN":          134,
	"KEY_MENU":          139,
	"KEY_SETUP":         141,
	"KEY_SLEEP":         142,
	"KEY_WAKEUP":        143,
	"KEY_PROG1":         148,
	"KEY_PROG2":         149,
	"KEY_PHONE":         169,
	"KEY_CONFIG":        171,
	"KEY_PROG3":         202,
	"KEY_PROG4":         203,
	"KEY_CAMERA":        212,
	"KEY_SEARCH":        217,
	"KEY_CANCEL":        223,
	"KEY_BLUETOOTH":     237,
	"KEY_WLAN":          238,
	"KEY_RFKILL":        247,
	"KEY_MICMUTE":       248,
	"BTN_0":             0x100,
	"BTN_1":             0x101,
	"BTN_2":             0x102,
	"BTN_3":             0x103,
	"BTN_4":             0x104,
	"BTN_5":             0x105,
	"BTN_6":             0x106,
	"BTN_7":             0x107,
	"BTN_8":             0x108,
	"BTN_9":             0x109,
	"KEY_SELECT":        0x161,
	"KEY_VENDOR":        0x168,
	"KEY_RESTART":       0x198,
	"KEY_WPS_BUTTON":    0x211,
	"KEY_LIGHTS_TOGGLE": 0x21e,
}

// maxKey is KEY_MAX.
const maxKey = 0x2ff

// Key returns the code of "KEY_RESTART", "0x198" or "408".
func Key(name string) (uint16, error) {
	if code, ok := keys[name]; ok {
		return code, nil
	}
	n, err := strconv.ParseUint(name, 0, 16)
	if err != nil || n == 0 || n > maxKey {
		return 0, fmt.Errorf("is %q, want a key's name (KEY_RESTART, KEY_WPS_BUTTON, KEY_POWER, …) or its number, 1 to %d", name, maxKey)
	}
	return uint16(n), nil
}
