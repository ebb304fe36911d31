// Package config reads configurations: one YAML file, then the environment
// (CAMAGENT_RTSP_ADDRESS is rtsp.address), then flags. A wrong configuration is
// told whole: every unknown key and every wrong value, each with what is allowed.
// [Read] does that for any struct; [Config] is that of camagent. It is read once
// and nobody changes it afterwards; what the owner changes at run time are
// settings, and live elsewhere.
package config

import (
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
)

// Config is the whole configuration. The struct is the truth: keys, flags, their
// help and the shipped example follow it, the defaults are those of [Default].
type Config struct {
	StateDir    string      `mapstructure:"state_dir" help:"folder of keys, roster and settings, on internal flash"`
	Board       string      `mapstructure:"board" help:"where pictures come from: sim, pipe, v4l2 or onboard"`
	Sim         Sim         `mapstructure:"sim"`
	Pipe        Pipe        `mapstructure:"pipe"`
	V4L2        V4L2        `mapstructure:"v4l2"`
	Onboard     Onboard     `mapstructure:"onboard"`
	Sound       Sound       `mapstructure:"sound"`
	Peripherals Peripherals `mapstructure:"peripherals"`
	Ring        Ring        `mapstructure:"ring"`
	RTSP        RTSP        `mapstructure:"rtsp"`
	Local       Local       `mapstructure:"local"`
	Record      Record      `mapstructure:"record"`
	Card        Card        `mapstructure:"card"`
	Cloud       Cloud       `mapstructure:"cloud"`
	Pairing     Pairing     `mapstructure:"pairing"`
	Log         Log         `mapstructure:"log"`
}

// Ring bounds the frames kept in memory.
type Ring struct {
	MainKB int `mapstructure:"main_kb" help:"frames of stream main kept in memory, kB"`
	SubKB  int `mapstructure:"sub_kb" help:"frames of stream sub kept in memory, kB"`
}

// Record configures the recorder; whether it records is a setting of the owner.
type Record struct {
	Stream     string        `mapstructure:"stream" help:"stream that is recorded: main or sub"`
	ClipLength time.Duration `mapstructure:"clip_length" help:"length of a clip, 2s to 1m"`
	PreRoll    time.Duration `mapstructure:"pre_roll" help:"how much of what was before an event is recorded, 0s to 30s; the ring must hold it"`
	PostRoll   time.Duration `mapstructure:"post_roll" help:"how long recording goes on after an event, 0s to 5m"`
}

// Card is the local storage for sealed clips.
type Card struct {
	Dir     string `mapstructure:"dir" help:"folder of sealed clips that wait for upload"`
	LimitMB int    `mapstructure:"limit_mb" help:"what sealed clips may take of the card, MB"`
	// MinFreeMB and MaxDays are the other two limits: whichever is met first counts.
	MinFreeMB int `mapstructure:"min_free_mb" help:"what stays free on the card, MB"`
	MaxDays   int `mapstructure:"max_days" help:"days for which clips are kept on the card, whether they are uploaded or not; 0: no limit"`
	// RequireMount keeps clips off the system's own flash while no card is mounted.
	RequireMount bool `mapstructure:"require_mount" help:"use the folder only while a file system of its own is mounted there"`
}

// Pairing bounds binding.
type Pairing struct {
	Window time.Duration `mapstructure:"window" help:"how long pairing is open after the start of an unbound camera"`
}

// Log configures the log.
type Log struct {
	Level  string `mapstructure:"level" help:"debug, info, warn or error"`
	Format string `mapstructure:"format" help:"json, console, or auto: console on a terminal"`
}

// Default returns the configuration of a camera that configures nothing.
func Default() Config {
	return Config{
		StateDir: "/var/lib/camagent",
		Board:    BoardSim,
		Sim:      Sim{Title: "simulated camera"},
		Ring:     Ring{MainKB: 1536, SubKB: 384},
		RTSP:     defaultRTSP(),
		Local:    defaultLocal(),
		Record:   Record{Stream: "main", ClipLength: 60 * time.Second, PreRoll: 5 * time.Second, PostRoll: 10 * time.Second},
		Card:     Card{Dir: "/var/lib/camagent/card", LimitMB: 1024},
		Cloud:    Cloud{Site: SiteAuto},
		Pairing:  Pairing{Window: 10 * time.Minute},
		Log:      Log{Level: "info", Format: "auto"},
	}
}

// Load reads the configuration of camagent; file may be "" and flags nil.
// Errors are those of [Read].
func Load(file string, flags *pflag.FlagSet, environ []string) (Config, error) {
	cfg := Default()
	err := Read(&cfg, Source{File: file, Prefix: "CAMAGENT", Environ: environ, Flags: flags}, (*Config).check)
	return cfg, err
}

func (c *Config) check(k *Checks) {
	k.Want(filepath.IsAbs(c.StateDir), "state_dir", c.StateDir, "an absolute path")
	c.checkBoard(k)
	c.Peripherals.check(k)
	k.Between("ring.main_kb", c.Ring.MainKB, 256, 1<<20)
	k.Between("ring.sub_kb", c.Ring.SubKB, 128, 1<<20)
	c.RTSP.check(k)
	c.Local.check(k, &c.RTSP)
	k.OneOf("record.stream", c.Record.Stream, "main", "sub")
	k.Duration("record.clip_length", c.Record.ClipLength, 2*time.Second, time.Minute)
	k.Duration("record.pre_roll", c.Record.PreRoll, 0, 30*time.Second)
	k.Duration("record.post_roll", c.Record.PostRoll, 0, 5*time.Minute)
	k.Want(filepath.IsAbs(c.Card.Dir), "card.dir", c.Card.Dir, "an absolute path")
	k.Between("card.limit_mb", c.Card.LimitMB, 1, 1<<24)
	k.Between("card.min_free_mb", c.Card.MinFreeMB, 0, 1<<24)
	k.Between("card.max_days", c.Card.MaxDays, 0, 3650)
	c.Cloud.check(k)
	k.Duration("pairing.window", c.Pairing.Window, time.Second, time.Hour)
	k.OneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.OneOf("log.format", c.Log.Format, "auto", "json", "console")
}
