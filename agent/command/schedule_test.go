package command

import (
	"slices"
	"strings"
	"testing"
)

func TestM3_SchedulesAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"always":                                 "always",
		"mon-fri@08:00-18:00":                    "mon-fri@08:00-18:00",
		"mon-fri 08:00-18:00":                    "mon-fri@08:00-18:00",
		"sat+sun 22:00-06:00, daily@12:00-12:30": "sat+sun@22:00-06:00,daily@12:00-12:30",
		"sat-mon@00:00-24:00":                    "mon+sat+sun@00:00-24:00", // round the end of the week
		"fri+mon+mon@01:00-02:00":                "mon+fri@01:00-02:00",
	} {
		list, err := ParseWindows(text)
		if err != nil || WindowsText(list) != want {
			t.Errorf("%q is %q, %v, want %q", text, WindowsText(list), err, want)
		}
	}
	for text, want := range map[string]string{
		"":                   "want always, or windows",
		"mon":                "want always, or windows",
		"mon@08:00":          "want 00:00 to 24:00",
		"mon@8:00-09:00":     `"8:00", want 00:00`,
		"mon@08:60-09:00":    `"08:60"`,
		"mon@08:00-24:01":    `"24:01"`,
		"mon@24:00-08:00":    "want 00:00 of the next day",
		"mon@08:00-08:00":    "is empty",
		"monday@08:00-09:00": `days are "monday"`,
		"mon@08:00-09:00,":   "want always, or windows",
		strings.Repeat("mon@08:00-09:00,", 28) + "mon@08:00-09:00": "28 at most",
	} {
		if _, err := ParseWindows(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestM3_S4_BadSchedulesAreRefused(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	list := func(w ...Window) *[]Window { return &w }
	for want, p := range map[string]SchedulePatch{
		"nothing to set":           {},
		`outside: is "continuous"`: {Outside: text("continuous")},
		"has 0 days":               {Windows: list(Window{From: "08:00", To: "09:00"})},
		"has 8 days":               {Windows: list(Window{Days: append(slices.Clone(Days), "mon"), From: "08:00", To: "09:00"})},
		`day: is "Mon"`:            {Windows: list(Window{Days: []string{"Mon"}, From: "08:00", To: "09:00"})},
		`time: is "+1:00"`:         {Windows: list(Window{Days: []string{"mon"}, From: "+1:00", To: "09:00"})},
	} {
		if err := (&SettingsPatch{Schedule: &p}).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, zone := range []string{"Local", "Middle/Earth", "../etc/passwd", "/etc/localtime"} {
		if _, err := (&SettingsPatch{Schedule: &SchedulePatch{Zone: &zone}}).Apply(Settings{}, nil); err == nil || !strings.Contains(err.Error(), "want UTC") {
			t.Errorf("zone %q: %v", zone, err)
		}
	}
	zone, off := "UTC", RecordOff
	got, err := (&SettingsPatch{Schedule: &SchedulePatch{Windows: list(Window{Days: []string{"mon"}, From: "08:00", To: "09:00"}), Zone: &zone, Outside: &off}}).Apply(Settings{}, nil)
	if err != nil || WindowsText(got.Schedule.Windows) != "mon@08:00-09:00" || got.Schedule.Zone != "UTC" || got.Schedule.Outside != RecordOff {
		t.Errorf("%+v, %v", got.Schedule, err)
	}
}

// What is read is written as it reads again.
func FuzzParseWindows(f *testing.F) {
	for _, s := range []string{"always", "mon-fri@08:00-18:00,sat@22:00-06:00", "sat-mon 00:00-24:00", "daily@1-2", "mon+@00:00-01:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseWindows(text)
		if err != nil {
			return
		}
		again, err := ParseWindows(WindowsText(list))
		if err != nil || WindowsText(again) != WindowsText(list) {
			t.Errorf("%q is %q, then %q, %v", text, WindowsText(list), WindowsText(again), err)
		}
	})
}
