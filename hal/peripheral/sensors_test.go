package peripheral

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/internal/errtest"
)

func remove(t testing.TB, root, path string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(root, path)); err != nil {
		t.Fatal(err)
	}
}

func sensorTree(t testing.TB) string {
	return tree(t, map[string]string{
		"sys/class/thermal/thermal_zone0/type":   "cpu-thermal\n",
		"sys/class/thermal/thermal_zone0/temp":   "48534\n",
		"sys/class/thermal/thermal_zone1/type":   "ddr\n",
		"sys/class/thermal/thermal_zone1/temp":   "-1000\n",
		"sys/class/hwmon/hwmon0/name":            "ina219\n",
		"sys/class/hwmon/hwmon0/in1_input":       "5012\n",
		"sys/class/hwmon/hwmon0/in1_label":       "VDD_5V\n",
		"sys/class/hwmon/hwmon0/in0_input":       "3300\n",
		"sys/class/hwmon/hwmon0/temp1_input":     "31250\n",
		"sys/class/hwmon/hwmon0/temp1_max_alarm": "0\n",
	})
}

func TestM13_Readings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list []Sensor
		want []hal.Reading
	}{
		{[]Sensor{{Sensor: "soc", Thermal: "cpu-thermal"}}, []hal.Reading{{Name: "soc", Value: 48.534, Unit: "°C"}}},
		{[]Sensor{{Thermal: "thermal_zone1"}}, []hal.Reading{{Name: "ddr", Value: -1, Unit: "°C"}}},
		{[]Sensor{{Sensor: "supply", Hwmon: "ina219:VDD_5V"}}, []hal.Reading{{Name: "supply", Value: 5.012, Unit: "V"}}},
		{[]Sensor{{Hwmon: "ina219:in1"}}, []hal.Reading{{Name: "ina219:VDD_5V", Value: 5.012, Unit: "V"}}},
		{[]Sensor{{Thermal: "*"}, {Hwmon: "*"}}, []hal.Reading{
			{Name: "cpu-thermal", Value: 48.534, Unit: "°C"}, {Name: "ddr", Value: -1, Unit: "°C"}, {Name: "ina219:temp1", Value: 31.25, Unit: "°C"},
			{Name: "ina219:in0", Value: 3.3, Unit: "V"}, {Name: "ina219:VDD_5V", Value: 5.012, Unit: "V"}}},
	} {
		s := opened(t, Config{Root: sensorTree(t), Sensors: c.list})
		got, err := part[hal.Sensors](t, s).Readings(t.Context())
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %+v, %v; want %+v", c.list, got, err, c.want)
		}
	}
}

func TestR4_SensorThatFailsIsLeftOut(t *testing.T) {
	t.Parallel()
	root := sensorTree(t)
	p := part[hal.Sensors](t, opened(t, Config{Root: root, Sensors: []Sensor{{Thermal: "*"}}}))
	put(t, root, "sys/class/thermal/thermal_zone0/temp", "")
	if list, err := p.Readings(t.Context()); err != nil || len(list) != 1 || list[0].Name != "ddr" {
		t.Error(list, err)
	}
	remove(t, root, "sys/class/thermal/thermal_zone1")
	remove(t, root, "sys/class/thermal/thermal_zone0")
	if list, err := p.Readings(t.Context()); err == nil {
		t.Error("no error, but", list)
	}
	_, err := New(Config{Root: root, Sensors: []Sensor{{Hwmon: "ina219:in7"}}})
	errtest.Says(t, err, hal.ErrNotFound, "peripherals.sensors[0].hwmon", "ina219:in0")
}
