package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
)

// Cloud says where brokers and storage are; neither a broker nor sites: there is
// no cloud.
type Cloud struct {
	Broker       string   `mapstructure:"broker" help:"host:port of the MQTT broker (TLS), if there is but one; none if empty"`
	Sites        []Site   `mapstructure:"sites"`
	Site         string   `mapstructure:"site" help:"name of the only one of the sites to use; auto: the nearest"`
	RootsFile    string   `mapstructure:"roots_file" help:"PEM file of the only roots by which broker and storage are trusted"`
	StorageHosts []string `mapstructure:"storage_hosts" help:"host:port of the storage that grants may name"`
	AllowPrivate bool     `mapstructure:"allow_private" help:"let the storage have a private or loopback address"`
	BandwidthKB  int      `mapstructure:"bandwidth_kb" help:"what uploads may take of the uplink, kB a second; 0: all"`
}

// Site is one place of several that serve the same cameras.
type Site struct {
	Name   string `mapstructure:"name"`
	Broker string `mapstructure:"broker"` // host:port
}

// SiteAuto stands for the nearest site.
const SiteAuto = "auto"

// Off tells that there is no cloud.
func (c *Cloud) Off() bool { return c.Broker == "" && len(c.Sites) == 0 }

// AllSites is the configured sites, or the one broker as a site without a name.
func (c *Cloud) AllSites() []Site {
	if len(c.Sites) == 0 && c.Broker != "" {
		return []Site{{Broker: c.Broker}}
	}
	return slices.Clone(c.Sites)
}

// Pinned is the name of the only site to use, "" if it is not decided here.
func (c *Cloud) Pinned() string {
	if c.Site == SiteAuto {
		return ""
	}
	return c.Site
}

func (c *Cloud) check(k *Checks) {
	c.checkSites(k)
	if c.Off() {
		return
	}
	if len(c.Sites) == 0 {
		k.Address("cloud.broker", c.Broker)
	}
	k.Want(c.RootsFile == "" || filepath.IsAbs(c.RootsFile), "cloud.roots_file", c.RootsFile, "an absolute path")
	k.Want(c.BandwidthKB == 0 || c.BandwidthKB >= 4, "cloud.bandwidth_kb", c.BandwidthKB, "0, or 4 at least")
	k.Want(len(c.StorageHosts) > 0, "cloud.storage_hosts", c.StorageHosts, "at least one host:port, as there is a broker")
	for i, h := range c.StorageHosts {
		k.Address(fmt.Sprintf("cloud.storage_hosts[%d]", i), h)
	}
}

var siteName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

const maxSites = 16

func (c *Cloud) checkSites(k *Checks) {
	k.Want(len(c.Sites) == 0 || c.Broker == "", "cloud.broker", c.Broker, "nothing, as cloud.sites says where brokers are")
	k.Want(len(c.Sites) <= maxSites, "cloud.sites", len(c.Sites), fmt.Sprintf("at most %d", maxSites))
	names := []string{SiteAuto}
	for i, s := range c.Sites {
		key := fmt.Sprintf("cloud.sites[%d]", i)
		k.Want(siteName.MatchString(s.Name), key+".name", s.Name, "1 to 32 of a-z, 0-9 and -")
		k.Want(!slices.Contains(names, s.Name), key+".name", s.Name, "a name of its own, and not "+SiteAuto)
		names = append(names, s.Name)
		k.Address(key+".broker", s.Broker)
	}
	k.Want(slices.Contains(names, c.Site), "cloud.site", c.Site, "auto, or the name of one of cloud.sites")
}
