package peripheral

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func light(t *testing.T, s *Set, want int) {
	t.Helper()
	got, err := part[hal.LightSensor](t, s).Light(t.Context())
	if err != nil || got != want {
		t.Errorf("light %d, %v; want %d", got, err, want)
	}
}

func TestM13_LightSensorOnALine(t *testing.T) {
	t.Parallel()
	root := gpioTree(t, "9")
	s := opened(t, Config{Root: root, LightSensor: &LightSensor{Line: "9"}})
	light(t, s, 0)
	set(t, root, "9", '1')
	light(t, s, 1000)
}

func TestM13_LightSensorOfIIO(t *testing.T) {
	t.Parallel()
	file := "sys/bus/iio/devices/iio:device10/in_voltage0_raw"
	root := tree(t, map[string]string{
		"sys/bus/iio/devices/iio:device2/name": "ltr501\n", "sys/bus/iio/devices/iio:device2/in_illuminance_raw": "77\n",
		"sys/bus/iio/devices/iio:device10/name": "adc\n", file: "120\n",
	})
	s := opened(t, Config{Root: root, LightSensor: &LightSensor{IIO: "adc/in_voltage0_raw", Dark: 120, Bright: 3120}})
	for raw, want := range map[string]int{"120\n": 0, "0\n": 0, "3120\n": 1000, "4095\n": 1000, "1620\n": 500, "1620.5": 500} {
		put(t, root, file, raw)
		light(t, s, want)
	}
	inverse := opened(t, Config{Root: root, LightSensor: &LightSensor{IIO: "in_illuminance_raw", Dark: 177, Bright: 67}})
	light(t, inverse, 909)
	_, err := New(Config{Root: root, LightSensor: &LightSensor{IIO: "in_voltage1_raw", Bright: 1}})
	errtest.Says(t, err, hal.ErrNotFound, "peripherals.light_sensor.iio", "in_voltage1_raw", "ltr501, adc")
}

func TestR4_LightSensorThatBreaksIsTold(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"dev/adc": "12 mV\x00"})
	s := opened(t, Config{Root: root, LightSensor: &LightSensor{File: "/dev/adc", Bright: 24}})
	light(t, s, 500)
	sensor := part[hal.LightSensor](t, s)
	put(t, root, "dev/adc", "bright\n")
	_, err := sensor.Light(t.Context())
	errtest.Says(t, err, nil, "dev/adc", "bright", "want a number")
	put(t, root, "dev/adc", "")
	_, err = sensor.Light(t.Context())
	errtest.Says(t, err, nil, "dev/adc", `""`, "want a number")
	remove(t, root, "dev/adc")
	_, err = sensor.Light(t.Context())
	errtest.Says(t, err, hal.ErrGone, "dev/adc")
}

func TestR4_LightSensorThatGivesNothingIsCancelled(t *testing.T) {
	t.Parallel()
	root := tree(t, map[string]string{"dev/x": ""})
	path := filepath.Join(root, "dev/adc")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0) // there, and silent
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := opened(t, Config{Root: root, LightSensor: &LightSensor{File: "/dev/adc", Bright: 24}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = part[hal.LightSensor](t, s).Light(ctx)
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took >= readWithin {
		t.Fatalf("%v after %v", err, took)
	}
	_, err = part[hal.LightSensor](t, s).Light(t.Context())
	errtest.Says(t, err, hal.ErrStalled, "dev/adc")
}
