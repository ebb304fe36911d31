package config

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Boards lists the boards that can be named.
func Boards() []string { return []string{"sim", "pipe"} }

type checks struct{ problems []Problem }

func (c *checks) want(ok bool, key string, have any, want string) {
	if !ok {
		c.problems = append(c.problems, Problem{key, fmt.Sprintf("%q", fmt.Sprint(have)), want})
	}
}

func (c *checks) oneOf(key, have string, allowed ...string) {
	c.want(slices.Contains(allowed, have), key, have, "one of "+strings.Join(allowed, ", "))
}

func (c *checks) between(key string, have, low, high int) {
	c.want(have >= low && have <= high, key, have, fmt.Sprintf("%d to %d", low, high))
}

func (c *checks) duration(key string, have, low, high time.Duration) {
	c.want(have >= low && have <= high, key, have, fmt.Sprintf("%s to %s", low, high))
}

// address wants host:port; the host may be empty only if emptyHost.
func (c *checks) address(key, have string, emptyHost bool) {
	host, port, err := net.SplitHostPort(have)
	n, perr := strconv.Atoi(port)
	form := "host:port"
	if emptyHost {
		form = "host:port or :port"
	}
	c.want(err == nil && perr == nil && n >= 0 && n <= 65535 && (emptyHost || host != ""), key, have, form)
}

func (c *Config) validate() []Problem {
	var k checks
	k.want(filepath.IsAbs(c.StateDir), "state_dir", c.StateDir, "an absolute path")
	k.oneOf("board", c.Board, Boards()...)
	k.want(len(c.Sim.Title) <= 40, "sim.title", c.Sim.Title, "at most 40 characters")
	if c.Board == "pipe" {
		k.sources(c.Pipe.Sources)
	}
	k.between("ring.main_kb", c.Ring.MainKB, 256, 1<<20)
	k.between("ring.sub_kb", c.Ring.SubKB, 128, 1<<20)
	k.address("rtsp.address", c.RTSP.Address, true)
	k.between("rtsp.max_viewers", c.RTSP.MaxViewers, 1, 10000)
	k.oneOf("record.stream", c.Record.Stream, "main", "sub")
	k.duration("record.clip_length", c.Record.ClipLength, 2*time.Second, time.Minute)
	k.want(filepath.IsAbs(c.Card.Dir), "card.dir", c.Card.Dir, "an absolute path")
	k.between("card.limit_mb", c.Card.LimitMB, 1, 1<<24)
	k.cloud(c.Cloud)
	k.duration("pairing.window", c.Pairing.Window, time.Second, time.Hour)
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "auto", "json", "console")
	return k.problems
}

func (k *checks) cloud(c Cloud) {
	if c.Broker == "" {
		return
	}
	k.address("cloud.broker", c.Broker, false)
	k.want(c.RootsFile == "" || filepath.IsAbs(c.RootsFile), "cloud.roots_file", c.RootsFile, "an absolute path")
	k.want(len(c.StorageHosts) > 0, "cloud.storage_hosts", c.StorageHosts, "at least one host:port, as cloud.broker is set")
	for i, h := range c.StorageHosts {
		k.address(fmt.Sprintf("cloud.storage_hosts[%d]", i), h, false)
	}
}

func (k *checks) sources(list []PipeSource) {
	k.want(len(list) > 0, "pipe.sources", list, "at least one source, as board is pipe")
	seen := map[string]bool{}
	for i, s := range list {
		key := fmt.Sprintf("pipe.sources[%d].", i)
		k.oneOf(key+"stream", s.Stream, "main", "sub")
		k.want(!seen[s.Stream], key+"stream", s.Stream, "each stream once")
		seen[s.Stream] = true
		k.want((len(s.Command) > 0) != (s.Path != ""), key+"command", s.Command, "either command or path, not both")
		k.want(s.Path == "" || filepath.IsAbs(s.Path), key+"path", s.Path, "an absolute path")
		k.between(key+"fps", s.FPS, 0, 120)
		k.duration(key+"early_cut", s.EarlyCut, 0, 100*time.Millisecond)
	}
	if len(list) > 0 && !seen["main"] {
		k.problems = append(k.problems, Problem{"pipe.sources", "without the stream main", "a source for it"})
	}
}
