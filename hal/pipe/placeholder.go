package pipe

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"iid2secure.nl/camagent/hal"
)

// setting is one number of a source that a placeholder stands for.
type setting struct {
	name  string
	of    func(*hal.VideoConfig) *int
	bound func(*Source) hal.Range
}

func never(*Source) hal.Range { return hal.Range{} }

var settings = []setting{
	{"width", func(c *hal.VideoConfig) *int { return &c.Width }, never},
	{"height", func(c *hal.VideoConfig) *int { return &c.Height }, never},
	{"fps", func(c *hal.VideoConfig) *int { return &c.FPS }, func(s *Source) hal.Range { return s.FPSRange }},
	{"gop", func(c *hal.VideoConfig) *int { return &c.GOP }, func(s *Source) hal.Range { return s.GOPRange }},
	{"bitrate", func(c *hal.VideoConfig) *int { return &c.Bitrate }, func(s *Source) hal.Range { return s.BitrateRange }},
}

// placeholder looks for lower-case words alone: other braces are the program's.
var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// defaults is what the stream does without a wish, as far as it is known.
func (s *Source) defaults() hal.VideoConfig {
	return hal.VideoConfig{Width: s.Width, Height: s.Height, FPS: s.FPS, GOP: s.GOP, Bitrate: s.Bitrate}
}

// wished is defaults, but for what can be tuned and is wanted.
func (s *Source) wished(want hal.VideoConfig) hal.VideoConfig {
	c := s.defaults()
	for _, k := range settings {
		if w := *k.of(&want); w > 0 && k.bound(s) != (hal.Range{}) {
			*k.of(&c) = w
		}
	}
	return c
}

// argv is the command with its placeholders replaced: plain text in an argument
// of its own, whatever stands around it.
func (s *Source) argv(c hal.VideoConfig) []string {
	var pairs []string
	for _, k := range settings {
		pairs = append(pairs, "{"+k.name+"}", strconv.Itoa(*k.of(&c)))
	}
	r := strings.NewReplacer(pairs...)
	list := slices.Clone(s.Command)
	for i := range list[1:] {
		list[i+1] = r.Replace(list[i+1])
	}
	return list
}

// checkPlaceholders wants known ones with a number to stand for, and ranges for
// placeholders alone.
func (s *Source) checkPlaceholders() error {
	used := map[string]bool{}
	for i, arg := range s.Command {
		for _, p := range placeholder.FindAllString(arg, -1) {
			if i == 0 || !known(p) {
				return fmt.Errorf("command: unknown placeholder %s in %q, want {width}, {height}, {fps}, {gop} or {bitrate}, in arguments alone", p, arg)
			}
			used[p[1:len(p)-1]] = true
		}
	}
	have := s.defaults()
	for _, k := range settings {
		if err := checkSetting(k.name, *k.of(&have), k.bound(s), used[k.name]); err != nil {
			return err
		}
	}
	return nil
}

func known(p string) bool {
	return slices.ContainsFunc(settings, func(k setting) bool { return p == "{"+k.name+"}" })
}

func checkSetting(name string, value int, r hal.Range, used bool) error {
	switch {
	case value < 0:
		return fmt.Errorf("%s is %d, want 0 (unknown) or more", name, value)
	case used && value == 0:
		return fmt.Errorf("the command has {%s}, but %s is not set", name, name)
	case r == hal.Range{}:
		return nil
	case !used:
		return fmt.Errorf("a range of %s, but no {%s} in the command", name, name)
	case r.Min < 1 || r.Max < r.Min || value < r.Min || value > r.Max:
		return fmt.Errorf("%s is %d, its range %d to %d, want a range of numbers above 0 around it", name, value, r.Min, r.Max)
	}
	return nil
}
