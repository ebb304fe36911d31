package usbcam

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var errNoDevice = errors.New("usbcam: the kernel has made no video device of it yet (module uvcvideo)")

// Number is the camera's on the bus, VENDOR:PRODUCT as lsusb writes it.
func (c *Camera) Number() string { return fmt.Sprintf("%04x:%04x", vendor, c.config.product()) }

// Device returns the path of the camera's video node, by its serial number.
func (c *Camera) Device() (string, error) {
	nodes, err := filepath.Glob("/sys/class/video4linux/video*")
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		// The second node of a UVC camera carries metadata, not pictures.
		if text(n+"/index") == "0" && text(n+"/device/../serial") == c.config.Serial {
			dev := "/dev/" + filepath.Base(n)
			if _, err := os.Stat(dev); err == nil {
				return dev, nil
			}
		}
	}
	return "", errNoDevice
}

func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
