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

// Source is where a configuration is read from; the later fields are the stronger ones.
type Source struct {
	File    string         // YAML; "": none
	Prefix  string         // of environment variables: with CAMAGENT, CAMAGENT_RTSP_ADDRESS is rtsp.address
	Environ []string       // as os.Environ gives it
	Flags   *pflag.FlagSet // those that were set and are named as keys count; nil: none
}

// Read fills cfg, a struct that holds the defaults and whose mapstructure tags
// are the keys, from src, and has check look at the values. What is not exactly
// right, all of it, is the *[Error] that it returns; cfg is then of no use. A
// value with a method Reveal() string is a secret, and is repeated nowhere. S8, R9.
func Read[T any](cfg *T, src Source, check func(*T, *Checks)) error {
	v := viper.New()
	if src.File != "" {
		v.SetConfigFile(src.File)
		v.SetConfigType("yaml")
		if err := v.ReadInConfig(); err != nil {
			return fileError(src.File, err)
		}
	}
	leaves := leavesOf(cfg)
	problems := unknownKeys(v.AllKeys(), leaves)
	problems = append(problems, src.takeEnviron(v, leaves)...)
	src.takeFlags(v, leaves)
	for _, l := range leaves {
		if p, bad := l.take(v); bad {
			problems = append(problems, p)
		}
	}
	c := Checks{problems: problems}
	check(cfg, &c)
	if len(c.problems) > 0 {
		return &Error{File: src.File, Problems: c.problems}
	}
	return nil
}

func fileError(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("configuration file %s: does not exist", file)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("configuration file %s: may not be read by this user", file)
	}
	return fmt.Errorf("configuration file %s: not readable as YAML: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
}

// AddFlags gives f a flag for each key of cfg that has help (the tag of its
// field), with its default, but for secrets: command lines are public, S8.
func AddFlags(f *pflag.FlagSet, cfg any) {
	for _, l := range leavesOf(cfg) {
		if l.help == "" || l.secret() {
			continue
		}
		switch v := l.value.Interface().(type) {
		case bool:
			f.Bool(l.key, v, l.help)
		case []string:
			f.StringSlice(l.key, v, l.help)
		default:
			f.String(l.key, fmt.Sprint(v), l.help)
		}
	}
}

// leaf is one key of the configuration with the place where its value goes.
type leaf struct {
	key, help string
	value     reflect.Value
}

// leavesOf lists the keys of the struct that cfg points to, in its order.
func leavesOf(cfg any) []leaf { return walk("", reflect.ValueOf(cfg).Elem()) }

func walk(prefix string, v reflect.Value) (out []leaf) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		l := leaf{prefix + tag.Get("mapstructure"), tag.Get("help"), v.Field(i)}
		if l.value.Kind() == reflect.Struct && !l.secret() {
			out = append(out, walk(l.key+".", l.value)...)
		} else {
			out = append(out, l)
		}
	}
	return out
}

func (l leaf) secret() bool {
	_, ok := l.value.Interface().(interface{ Reveal() string })
	return ok
}

func unknownKeys(keys []string, leaves []leaf) (problems []Problem) {
	slices.Sort(keys)
	for _, k := range keys {
		if !slices.ContainsFunc(leaves, func(l leaf) bool { return l.key == k }) {
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

func (src Source) variable(key string) string {
	return src.Prefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (src Source) takeEnviron(v *viper.Viper, leaves []leaf) (problems []Problem) {
	for _, e := range src.Environ {
		name, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, src.Prefix+"_") {
			continue
		}
		i := slices.IndexFunc(leaves, func(l leaf) bool { return src.variable(l.key) == name })
		if i < 0 {
			problems = append(problems, Problem{name, "an unknown environment variable", src.Prefix + "_ and a key, as in " + src.variable(leaves[0].key)})
			continue
		}
		v.Set(leaves[i].key, value)
	}
	return problems
}

func (src Source) takeFlags(v *viper.Viper, leaves []leaf) {
	if src.Flags == nil {
		return
	}
	for _, l := range leaves {
		if !src.Flags.Changed(l.key) {
			continue
		}
		given := src.Flags.Lookup(l.key).Value
		if list, ok := given.(pflag.SliceValue); ok {
			v.Set(l.key, list.GetSlice())
		} else {
			v.Set(l.key, given.String())
		}
	}
}

// take decodes the value of one key into its place; a key that is not given keeps its default.
func (l leaf) take(v *viper.Viper) (Problem, bool) {
	if !v.IsSet(l.key) {
		return Problem{}, false
	}
	raw := v.Get(l.key)
	if err := l.decode(raw); err != nil {
		return l.problem(raw, err), true
	}
	return Problem{}, false
}

func (l leaf) decode(raw any) error {
	if f, ok := raw.(float64); ok && l.value.Kind() == reflect.Int && f != float64(int(f)) {
		return errors.New("a fraction") // which the decoder would cut off
	}
	_, text := raw.(string)
	fresh := reflect.New(l.value.Type())
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: fresh.Interface(), ErrorUnused: true, WeaklyTypedInput: text,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.TextUnmarshallerHookFunc(),
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	})
	if err == nil {
		err = dec.Decode(raw)
	}
	if err == nil {
		l.value.Set(fresh.Elem())
	}
	return err
}

func (l leaf) problem(raw any, err error) Problem {
	p := Problem{l.key, fmt.Sprintf("%q", fmt.Sprint(raw)), l.wants()}
	if l.secret() {
		p.Have = "not text"
	} else if s := err.Error(); strings.Contains(s, "invalid keys") {
		p.Want += " (" + strings.TrimSpace(s[strings.LastIndex(s, "has invalid keys"):]) + ")"
	}
	return p
}

// wants says in words what may be given.
func (l leaf) wants() string {
	t := l.value.Type()
	switch {
	case t.String() == "time.Duration":
		return "a duration such as 10s or 5m"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		var keys []string
		for f := range t.Elem().Fields() {
			keys = append(keys, f.Tag.Get("mapstructure"))
		}
		return "a list of {" + strings.Join(keys, ", ") + "}"
	case t.Kind() == reflect.Slice:
		return "a list of texts"
	}
	return "a text"
}
