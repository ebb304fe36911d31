package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"iid2secure.nl/camagent/agent/command"
)

func (c *ctl) settingsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "settings", Short: "Show the settings in force", Args: takes(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.settings(cmd.Context()) },
	}
}

func (c *ctl) settings(ctx context.Context) error {
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	s, err := call(ctx, c, o, command.SettingsGet, command.None{})
	if err != nil {
		return err
	}
	return c.showSettings(s)
}

func (c *ctl) setCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set KEY=VALUE…", Short: "Change settings, and show what is in force afterwards",
		Long:    "Change settings, and show what is in force afterwards. Keys:\n" + keysHelp(),
		Example: "  camctl set main.bitrate=1000000 main.fps=15 sub.gop=50\n  camctl set recording=off microphone=on",
		Args:    takes(1, -1, "KEY=VALUE…"),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.set(cmd.Context(), args) },
	}
}

func (c *ctl) set(ctx context.Context, args []string) error {
	patch, err := parsePatch(args)
	if err != nil {
		return err
	}
	o, err := c.own(ctx)
	if err != nil {
		return err
	}
	s, err := call(ctx, c, o, command.SettingsSet, patch)
	if err != nil {
		return err
	}
	return c.showSettings(s)
}

// showSettings prints what set understands.
func (c *ctl) showSettings(s command.Settings) error {
	return c.show(s, func(w io.Writer) {
		for _, name := range slices.Sorted(maps.Keys(s.Streams)) {
			st := s.Streams[name]
			fmt.Fprintf(w, "%s.bitrate=%d\n%s.fps=%d\n%s.gop=%d\n", name, st.Bitrate, name, st.FPS, name, st.GOP)
		}
		fmt.Fprintf(w, "recording=%s\nmicrophone=%s\n", s.Recording, onOff(s.Microphone))
	})
}

// A setter puts one value into a patch, or says what is allowed.
type setter struct {
	help string
	set  func(p *command.SettingsPatch, value string) error
}

var (
	streamNames = []string{"main", "sub"}
	// streamKeys are those of one stream; the camera knows their ranges.
	streamKeys = map[string]struct {
		help  string
		field func(*command.StreamPatch) **int
	}{
		"bitrate": {"bits per second", func(p *command.StreamPatch) **int { return &p.Bitrate }},
		"fps":     {"frames per second", func(p *command.StreamPatch) **int { return &p.FPS }},
		"gop":     {"frames from one key frame to the next", func(p *command.StreamPatch) **int { return &p.GOP }},
	}
)

// setters is the table of all keys.
func setters() map[string]setter {
	t := map[string]setter{
		"recording":  {command.RecordContinuous + " or " + command.RecordOff, setRecording},
		"microphone": {"on or off", setMicrophone},
	}
	for _, stream := range streamNames {
		for key, k := range streamKeys {
			t[stream+"."+key] = setter{"a whole number, " + k.help, func(p *command.SettingsPatch, value string) error {
				n, err := strconv.Atoi(value)
				if err != nil || n <= 0 {
					return fmt.Errorf("is %q, want a whole number above 0", value)
				}
				if p.Streams == nil {
					p.Streams = map[string]command.StreamPatch{}
				}
				s := p.Streams[stream]
				*k.field(&s) = &n
				p.Streams[stream] = s
				return nil
			}}
		}
	}
	return t
}

func setRecording(p *command.SettingsPatch, value string) error {
	if value != command.RecordContinuous && value != command.RecordOff {
		return fmt.Errorf("is %q, want %s or %s", value, command.RecordContinuous, command.RecordOff)
	}
	p.Recording = &value
	return nil
}

func setMicrophone(p *command.SettingsPatch, value string) error {
	if value != "on" && value != "off" {
		return fmt.Errorf("is %q, want on or off", value)
	}
	on := value == "on"
	p.Microphone = &on
	return nil
}

func keysHelp() string {
	var b strings.Builder
	t := setters()
	for _, key := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "  %-14s%s\n", key, t[key].help)
	}
	return b.String()
}

// parsePatch reads KEY=VALUE arguments; all problems are named at once.
func parsePatch(args []string) (command.SettingsPatch, error) {
	var p command.SettingsPatch
	var problems []string
	t, seen := setters(), map[string]bool{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		s, known := t[key]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%.40q is not KEY=VALUE", arg))
		case !known:
			problems = append(problems, fmt.Sprintf("unknown key %.40q: want one of %s", key, strings.Join(slices.Sorted(maps.Keys(t)), ", ")))
		case seen[key]:
			problems = append(problems, key+": given twice")
		default:
			seen[key] = true
			if err := s.set(&p, value); err != nil {
				problems = append(problems, key+": "+err.Error())
			}
		}
	}
	if len(problems) > 0 {
		return p, usage("set: %s", strings.Join(problems, "; "))
	}
	return p, nil
}
