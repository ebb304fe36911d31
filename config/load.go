package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// EnvPrefix begins the name of every environment variable that is read.
const EnvPrefix = "CAMAGENT"

// Problem is one thing wrong with a configuration.
type Problem struct {
	Key  string // path, as in the file
	Have string // the value, quoted, or what is wrong
	Want string // what is allowed
}

func (p Problem) Error() string { return fmt.Sprintf("%s: is %s, want %s", p.Key, p.Have, p.Want) }

// Error lists all problems of one configuration, a line each. R9.
type Error struct {
	File     string // "" if none was read
	Problems []Problem
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	where := "configuration"
	if e.File != "" {
		where = e.File
	}
	return where + ": " + strings.Join(lines, "\n"+where+": ")
}

// Load reads file ("": none), the environment and those of flags that were
// set; flags are named as the keys. It returns an *Error for anything that is
// not exactly right.
func Load(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	v := viper.New()
	if file != "" {
		v.SetConfigFile(file)
		v.SetConfigType("yaml")
		if err := v.ReadInConfig(); err != nil {
			return Config{}, readError(file, err)
		}
	}
	cfg := Default()
	leaves := leavesOf(&cfg)
	problems := unknownKeys(v.AllKeys(), leaves)
	problems = append(problems, takeEnv(v, leaves, environ)...)
	takeFlags(v, flags)
	for _, l := range leaves {
		if p, bad := l.take(v); bad {
			problems = append(problems, p)
		}
	}
	if len(problems) == 0 {
		problems = cfg.validate()
	}
	if len(problems) > 0 {
		return Config{}, &Error{File: file, Problems: problems}
	}
	return cfg, nil
}

func readError(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configuration file %s: does not exist", file)
	}
	return fmt.Errorf("configuration file %s: not readable as YAML: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
}

// leaf is one key of the configuration with the place where its value goes.
type leaf struct {
	key   string
	value reflect.Value
}

// Keys lists all keys in the order of Config.
func Keys() []string {
	cfg := Default()
	var keys []string
	for _, l := range leavesOf(&cfg) {
		keys = append(keys, l.key)
	}
	return keys
}

func leavesOf(cfg *Config) []leaf { return walk("", reflect.ValueOf(cfg).Elem()) }

func walk(prefix string, v reflect.Value) (out []leaf) {
	for i := range v.NumField() {
		key := prefix + v.Type().Field(i).Tag.Get("mapstructure")
		if f := v.Field(i); f.Kind() == reflect.Struct {
			out = append(out, walk(key+".", f)...)
		} else {
			out = append(out, leaf{key, f})
		}
	}
	return out
}

func known(leaves []leaf, key string) bool {
	return slices.ContainsFunc(leaves, func(l leaf) bool { return l.key == key })
}

func unknownKeys(keys []string, leaves []leaf) (problems []Problem) {
	slices.Sort(keys)
	for _, k := range keys {
		if !known(leaves, k) {
			problems = append(problems, Problem{k, "unknown", "one of " + near(k, leaves)})
		}
	}
	return problems
}

// near lists the keys of the same section, or all sections.
func near(key string, leaves []leaf) string {
	section, _, _ := strings.Cut(key, ".")
	var same, top []string
	for _, l := range leaves {
		s, _, _ := strings.Cut(l.key, ".")
		if s == section {
			same = append(same, l.key)
		}
		if !slices.Contains(top, s) {
			top = append(top, s)
		}
	}
	if len(same) > 0 {
		return strings.Join(same, ", ")
	}
	return strings.Join(top, ", ")
}

func envName(key string) string {
	return EnvPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func takeEnv(v *viper.Viper, leaves []leaf, environ []string) (problems []Problem) {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, EnvPrefix+"_") {
			continue
		}
		i := slices.IndexFunc(leaves, func(l leaf) bool { return envName(l.key) == name })
		if i < 0 {
			problems = append(problems, Problem{name, "an unknown environment variable", EnvPrefix + "_ and a key, as in " + envName("rtsp.address")})
			continue
		}
		v.Set(leaves[i].key, value)
	}
	return problems
}

func takeFlags(v *viper.Viper, flags *pflag.FlagSet) {
	if flags == nil {
		return
	}
	flags.Visit(func(f *pflag.Flag) {
		if slices.Contains(Keys(), f.Name) {
			v.Set(f.Name, f.Value.String())
		}
	})
}

// take decodes the value of one key into its place; a key that is not given keeps its default.
func (l leaf) take(v *viper.Viper) (Problem, bool) {
	if !v.IsSet(l.key) {
		return Problem{}, false
	}
	raw := v.Get(l.key)
	if f, ok := raw.(float64); ok && l.value.Kind() == reflect.Int && f != float64(int(f)) {
		return Problem{l.key, fmt.Sprint(raw), typeName(l.value)}, true
	}
	fresh := reflect.New(l.value.Type())
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: fresh.Interface(), ErrorUnused: true, WeaklyTypedInput: isText(raw),
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	})
	if err == nil {
		err = dec.Decode(raw)
	}
	if err != nil {
		return Problem{l.key, fmt.Sprintf("%q", fmt.Sprint(raw)), typeName(l.value) + detail(err)}, true
	}
	l.value.Set(fresh.Elem())
	return Problem{}, false
}

func isText(v any) bool { _, ok := v.(string); return ok }

// detail keeps what a decoder says of unknown keys inside lists.
func detail(err error) string {
	if s := err.Error(); strings.Contains(s, "invalid keys") {
		return " (" + strings.TrimSpace(s[strings.LastIndex(s, "has invalid keys"):]) + ")"
	}
	return ""
}

func typeName(v reflect.Value) string {
	switch v.Interface().(type) {
	case []PipeSource:
		return "a list of {stream, command or path, fps, early_cut}"
	case []string:
		return "a list of texts"
	}
	switch {
	case v.Type().String() == "time.Duration":
		return "a duration such as 10s or 5m"
	case v.Kind() == reflect.Int:
		return "a whole number"
	case v.Kind() == reflect.Bool:
		return "true or false"
	}
	return "a text"
}
