// Powercut is a card's writer without a camera: `powercut DIR` recovers the card,
// says what is on it, and then records, uploads and says so until the power goes.
// Whoever has cut it compares what the next one finds with what this one was
// promised. With --device it mounts the card first: in a virtual machine it is
// the only program. The tests beside it, with the tag powercut, do the cutting.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	device := flag.String("device", "", "block device with the card")
	kind := flag.String("fs", "vfat", "its file system")
	flag.Parse()
	dir := flag.Arg(0)
	if err := run(dir, *device, *kind); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run(dir, device, kind string) error {
	if device != "" {
		if err := mount(dir, device, kind); err != nil {
			return err
		}
	}
	// A console keeps what the power would take with it.
	drain := func() { _ = unix.IoctlSetInt(int(os.Stdout.Fd()), unix.TCSBRK, 1) }
	return write(dir, os.Stdout, drain)
}

// mount waits for the device, which a machine that has just started may not have found yet.
func mount(dir, device, kind string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range 100 {
		// As cards usually are: dates of use are not written.
		if err = unix.Mount(device, dir, kind, unix.MS_NOATIME|unix.MS_DIRSYNC, ""); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("mounting %s of %s: %w", device, kind, err)
}
