//go:build vm

package usbcam

import (
	"os"
	"testing"
)

// In a virtual machine with the modules uvcvideo and vhci-hcd: the kernel's
// driver takes the descriptors, and makes and removes the device.
func TestKernelMakesADeviceOfIt(t *testing.T) {
	for _, kind := range []Kind{H264, MJPEG} {
		c, err := Plug(Config{Source: list(), Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			path, err := c.Device()
			if err != nil {
				t.Fatal(err)
			}
			if c.Replug() == nil {
				t.Fatal("plugged in twice")
			}
			if err := c.Unplug(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Fatalf("%s is still there", path)
			}
			if err := c.Replug(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTwoCameras(t *testing.T) {
	paths := map[string]bool{}
	for port, serial := range []string{"a", "b"} {
		c, err := Plug(Config{Source: list(), Serial: serial, Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		path, err := c.Device()
		if err != nil {
			t.Fatal(err)
		}
		paths[path] = true
	}
	if len(paths) != 2 {
		t.Errorf("two cameras at %v", paths)
	}
}
