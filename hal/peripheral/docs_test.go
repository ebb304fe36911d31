//go:build !vm

// A virtual machine has no documentation.

package peripheral

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// M13: an example that one copies from the documentation is taken.
func TestM13_ExamplesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/peripherals.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for _, block := range strings.Split(string(page), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		var doc map[string]any
		if err := yaml.Unmarshal([]byte(block), &doc); err != nil {
			t.Fatalf("%v in\n%s", err, block)
		}
		var c Config
		fill(t, reflect.ValueOf(&c).Elem(), doc["peripherals"], "peripherals")
		if err := c.check(); err != nil || reflect.DeepEqual(c, Config{}) {
			t.Errorf("%v in\n%s", err, block)
		}
		examples++
	}
	if examples < 10 {
		t.Errorf("%d examples", examples)
	}
}

// fill sets a field by its name in the configuration: snake_case of its Go name.
func fill(t *testing.T, to reflect.Value, from any, path string) {
	t.Helper()
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		fill(t, to.Elem(), from, path)
	case reflect.Slice:
		for _, v := range from.([]any) {
			to.Set(reflect.Append(to, reflect.Zero(to.Type().Elem())))
			fill(t, to.Index(to.Len()-1), v, path)
		}
	case reflect.Struct:
		for key, v := range from.(map[string]any) {
			field := to.FieldByNameFunc(func(name string) bool { return snake(name) == key })
			if !field.IsValid() {
				t.Fatalf("%s has no field %s", path, key)
			}
			fill(t, field, v, path+"."+key)
		}
	case reflect.Int64:
		d, err := time.ParseDuration(from.(string))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		to.SetInt(int64(d))
	default:
		to.Set(reflect.ValueOf(from).Convert(to.Type()))
	}
}

// snake makes ir_filter of IRFilter, and leds of LEDs.
func snake(name string) string {
	if name == "LEDs" {
		return "leds"
	}
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(rune(name[i-1])) || i+1 < len(name) && unicode.IsLower(rune(name[i+1]))) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
