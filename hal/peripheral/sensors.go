package peripheral

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/peripheral/internal/sysfs"
)

// all stands for every thermal zone, or every input of every monitor.
const all = "*"

// gauge is one number that the kernel measures, in thousandths of unit.
type gauge struct {
	name string
	path string
	unit string
}

// sensors are all gauges.
type sensors struct{ gauges []gauge }

var _ hal.Sensors = (*sensors)(nil)

// Readings implements [hal.Sensors]. A gauge that fails is left out, an error
// is returned if all do.
func (s *sensors) Readings(ctx context.Context) ([]hal.Reading, error) {
	var list []hal.Reading
	var errs []error
	for _, g := range s.gauges {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := sysfs.ReadNumber(g.path)
		if err != nil {
			errs = append(errs, gone(err))
			continue
		}
		list = append(list, hal.Reading{Name: g.name, Value: v / 1000, Unit: g.unit})
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, errors.Join(errs...)
}

// findGauges returns what a Sensor of the configuration means.
func findGauges(root string, c Sensor) ([]gauge, error) {
	there, want := thermalZones(root), c.Thermal
	if c.Hwmon != "" {
		there, want = monitors(root), c.Hwmon
	}
	var list []gauge
	var names []string
	for _, g := range there {
		names = append(names, g.named[0])
		for _, n := range g.named {
			if want != all && want != n {
				continue
			}
			if c.Sensor != "" {
				g.name = c.Sensor
			}
			list = append(list, g.gauge)
			break
		}
	}
	if want != all && len(list) > 1 {
		list = list[:1]
	}
	if len(there) == 0 {
		return nil, fmt.Errorf("%w: no %q: this kernel has no such sensors", hal.ErrNotFound, want)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no %q, want one of: %s", hal.ErrNotFound, want, strings.Join(append(names, `"*"`), ", "))
	}
	return list, nil
}

// found is a gauge and how it may be called in the configuration.
type found struct {
	gauge
	named []string
}

func thermalZones(root string) (list []found) {
	for _, dir := range sysfs.List(filepath.Join("/", root, "sys/class/thermal"), "thermal_zone*") {
		kind, err := sysfs.Read(filepath.Join(dir, "type"))
		if err != nil || kind == "" {
			kind = filepath.Base(dir)
		}
		list = append(list, found{gauge{kind, filepath.Join(dir, "temp"), "°C"}, []string{kind, filepath.Base(dir)}})
	}
	return list
}

func monitors(root string) (list []found) {
	for _, dir := range sysfs.List(filepath.Join("/", root, "sys/class/hwmon"), "hwmon*") {
		chip, err := sysfs.Read(filepath.Join(dir, "name"))
		if err != nil {
			chip = filepath.Base(dir)
		}
		for _, kind := range []struct{ pattern, unit string }{{"temp*_input", "°C"}, {"in*_input", "V"}} {
			for _, path := range sysfs.List(dir, kind.pattern) {
				list = append(list, monitor(chip, path, kind.unit))
			}
		}
	}
	return list
}

// monitor is one input; its label, if it has one, is its better name.
func monitor(chip, path, unit string) found {
	input := strings.TrimSuffix(filepath.Base(path), "_input")
	f := found{gauge{chip + ":" + input, path, unit}, []string{chip + ":" + input}}
	if label, err := sysfs.Read(strings.TrimSuffix(path, "_input") + "_label"); err == nil && label != "" {
		f.name = chip + ":" + label
		f.named = append(f.named, f.name)
	}
	return f
}
