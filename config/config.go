// Package config loads the configuration of camagent: one YAML file, then the
// environment (CAMAGENT_RTSP_ADDRESS is rtsp.address), then flags. It is read
// once into a Config that nobody changes afterwards; what the owner changes at
// run time are settings, and live elsewhere. A wrong configuration is told
// whole: every unknown key and every wrong value, each with what is allowed.
package config

import (
	"time"
)

// Config is the whole configuration. The struct is the truth: keys, defaults
// ([Default]) and the shipped example follow it.
type Config struct {
	StateDir string  `mapstructure:"state_dir"` // keys, roster, settings: internal flash
	Board    string  `mapstructure:"board"`     // "sim", "pipe"
	Sim      Sim     `mapstructure:"sim"`
	Pipe     Pipe    `mapstructure:"pipe"`
	Ring     Ring    `mapstructure:"ring"`
	RTSP     RTSP    `mapstructure:"rtsp"`
	Record   Record  `mapstructure:"record"`
	Card     Card    `mapstructure:"card"`
	Cloud    Cloud   `mapstructure:"cloud"`
	Pairing  Pairing `mapstructure:"pairing"`
	Log      Log     `mapstructure:"log"`
}

// Sim configures the simulated board.
type Sim struct {
	Title string `mapstructure:"title"` // shown in the picture
}

// Pipe configures the board that reads H.264 from commands or FIFOs.
type Pipe struct {
	Sources []PipeSource `mapstructure:"sources"`
}

// PipeSource is one stream: exactly one of Command and Path is set.
type PipeSource struct {
	Stream   string        `mapstructure:"stream"`
	Command  []string      `mapstructure:"command"`
	Path     string        `mapstructure:"path"`
	FPS      int           `mapstructure:"fps"`
	EarlyCut time.Duration `mapstructure:"early_cut"`
}

// Ring bounds the frames kept in memory.
type Ring struct {
	MainKB int `mapstructure:"main_kb"`
	SubKB  int `mapstructure:"sub_kb"`
}

// RTSP configures the live server.
type RTSP struct {
	Address    string `mapstructure:"address"`
	UDP        bool   `mapstructure:"udp"`
	MaxViewers int    `mapstructure:"max_viewers"`
}

// Record configures the recorder; whether it records is a setting of the owner.
type Record struct {
	Stream     string        `mapstructure:"stream"`
	ClipLength time.Duration `mapstructure:"clip_length"`
}

// Card is the local storage for sealed clips.
type Card struct {
	Dir     string `mapstructure:"dir"`
	LimitMB int    `mapstructure:"limit_mb"`
}

// Cloud says where broker and storage are; an empty broker means none.
type Cloud struct {
	Broker       string   `mapstructure:"broker"`
	RootsFile    string   `mapstructure:"roots_file"`
	StorageHosts []string `mapstructure:"storage_hosts"`
	AllowPrivate bool     `mapstructure:"allow_private"`
}

// Pairing bounds binding.
type Pairing struct {
	Window time.Duration `mapstructure:"window"`
}

// Log configures the log.
type Log struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// Default returns the configuration of a camera that configures nothing.
func Default() Config {
	return Config{
		StateDir: "/var/lib/camagent",
		Board:    "sim",
		Sim:      Sim{Title: "simulated camera"},
		Ring:     Ring{MainKB: 1536, SubKB: 384},
		RTSP:     RTSP{Address: ":8554", UDP: true, MaxViewers: 100},
		Record:   Record{Stream: "main", ClipLength: 60 * time.Second},
		Card:     Card{Dir: "/var/lib/camagent/card", LimitMB: 1024},
		Pairing:  Pairing{Window: 10 * time.Minute},
		Log:      Log{Level: "info", Format: "auto"},
	}
}
