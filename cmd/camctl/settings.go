package main

import (
	"cmp"
	"context"
	"errors"
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
		Use: "set KEY=VALUE… | set KEY VALUE", Short: "Change settings, and show what is in force afterwards",
		Long: "Change settings, and show what is in force afterwards. Keys:\n" + keysHelp(),
		Example: "  camctl set main.bitrate=1000000 main.fps=15 sub.gop=50\n  camctl set recording=off microphone=on\n" +
			"  camctl set recording events\n" +
			"  camctl set schedule mon-fri 18:00-07:00, sat+sun 00:00-24:00\n" +
			"  camctl set schedule.zone=Europe/Berlin schedule.outside=events",
		Args: takes(1, -1, "KEY=VALUE…"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.set(cmd.Context(), args) },
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
		fmt.Fprintf(w, "recording=%s\nschedule=%s\nschedule.zone=%s\nschedule.outside=%s\nmicrophone=%s\n", s.Recording,
			command.WindowsText(s.Schedule.Windows), cmp.Or(s.Schedule.Zone, "UTC"), cmp.Or(s.Schedule.Outside, command.RecordOff), onOff(s.Microphone))
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
		"recording":        {command.Among(command.RecordModes), setRecording},
		"schedule":         {"when that holds: " + command.Always + ", or days and times, as mon-fri@08:00-18:00,sat+sun@22:00-06:00", setSchedule},
		"schedule.zone":    {"the zone of those times: UTC, or a name such as Europe/Berlin", setZone},
		"schedule.outside": {"recording outside of the schedule: " + command.Among(command.OutsideModes), setOutside},
		"microphone":       {"on or off", setMicrophone},
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
	if !slices.Contains(command.RecordModes, value) {
		return fmt.Errorf("is %q, want %s", value, command.Among(command.RecordModes))
	}
	p.Recording = &value
	return nil
}

// schedule is the part of p about the schedule.
func schedule(p *command.SettingsPatch) *command.SchedulePatch {
	if p.Schedule == nil {
		p.Schedule = &command.SchedulePatch{}
	}
	return p.Schedule
}

func setSchedule(p *command.SettingsPatch, value string) error {
	windows, err := command.ParseWindows(value)
	schedule(p).Windows = &windows
	return err
}

// setZone leaves it to the camera which zones there are.
func setZone(p *command.SettingsPatch, value string) error {
	if value == "" {
		return errors.New("is empty, want UTC, or a name such as Europe/Berlin")
	}
	schedule(p).Zone = &value
	return nil
}

func setOutside(p *command.SettingsPatch, value string) error {
	if !slices.Contains(command.OutsideModes, value) {
		return fmt.Errorf("is %q, want %s", value, command.Among(command.OutsideModes))
	}
	schedule(p).Outside = &value
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
		fmt.Fprintf(&b, "  %-18s%s\n", key, t[key].help)
	}
	return b.String()
}

// parsePatch reads KEY=VALUE arguments, or one KEY with the words of its value
// after it; all problems are named at once.
func parsePatch(args []string) (command.SettingsPatch, error) {
	var p command.SettingsPatch
	var problems []string
	t, seen := setters(), map[string]bool{}
	if len(args) > 1 && t[args[0]].set != nil {
		args = []string{args[0] + "=" + strings.Join(args[1:], " ")}
	}
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
