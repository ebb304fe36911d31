package peripheral

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/gpio"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

const brightest = 1000

// lineSensor tells only whether it is bright.
type lineSensor struct{ line *gpio.Line }

var _ hal.LightSensor = lineSensor{}

// Light implements [hal.LightSensor].
func (s lineSensor) Light(context.Context) (int, error) {
	bright, err := s.line.Get()
	if err != nil || !bright {
		return 0, err
	}
	return brightest, nil
}

// Close gives the line back.
func (s lineSensor) Close() error { return s.line.Close() }

// scaleSensor reads numbers.
type scaleSensor struct {
	path         string
	reads        int // that are averaged
	dark, bright float64
}

var _ hal.LightSensor = (*scaleSensor)(nil)

const (
	// fileReads smooth a vendor's converter, which is read without a filter.
	fileReads = 12
	// readWithin bounds a device that gives nothing.
	readWithin = 2 * time.Second
)

// Light implements [hal.LightSensor].
func (s *scaleSensor) Light(ctx context.Context) (int, error) {
	var sum float64
	for range s.reads {
		v, err := s.read(ctx)
		if err != nil {
			return 0, gone(err)
		}
		sum += v
	}
	part := (sum/float64(s.reads) - s.dark) / (s.bright - s.dark)
	return int(math.Round(brightest * min(max(part, 0), 1))), nil
}

// read opens the device anew each time: that is what makes sysfs, and most
// vendors' drivers, measure.
func (s *scaleSensor) read(ctx context.Context) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, err := os.Open(s.path)
	if err != nil {
		return 0, sysfs.Explain(err, s.path)
	}
	defer f.Close()
	// Devices that can be waited for are; others answer at once.
	_ = f.SetReadDeadline(time.Now().Add(readWithin))
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [64]byte
	n, err := f.Read(b[:])
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case os.IsTimeout(err):
		return 0, fmt.Errorf("%s: %w", s.path, hal.ErrStalled)
	case err != nil && err != io.EOF:
		return 0, sysfs.Explain(err, s.path)
	}
	return sysfs.Number(s.path, string(b[:n]))
}

// checkFile tells whether a file is there to be read.
func checkFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return sysfs.Explain(err, path)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.IsDir() {
		return fmt.Errorf("%s is a directory, want a device or file that gives a number", path)
	}
	return nil
}

// findIIO returns the file of a channel: of the device with a name, or of the
// first that has it.
func findIIO(root, channel string) (string, error) {
	name, file, named := strings.Cut(channel, "/")
	if !named {
		name, file = "", channel
	}
	var there []string
	for _, dir := range sysfs.List(filepath.Join("/", root, "sys/bus/iio/devices"), "iio:device*") {
		is, _ := sysfs.Read(filepath.Join(dir, "name"))
		there = append(there, is)
		if name != "" && name != is && name != filepath.Base(dir) {
			continue
		}
		if path := filepath.Join(dir, file); sysfs.Exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: no industrial I/O device has %q, there are: %s", hal.ErrNotFound, channel, sysfs.Names(there))
}
