package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "camagent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShippedExampleEqualsDefaults(t *testing.T) {
	t.Parallel()
	got, err := Load("camagent.yaml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Pipe, want.V4L2.Sources, want.Onboard.Sources = Pipe{Sources: []PipeSource{}, Sidecar: []string{}}, []V4L2Source{}, []OnboardSource{}
	want.Cloud.Sites, want.Cloud.StorageHosts = []Site{}, []string{}
	want.Peripherals = Peripherals{Lights: []Light{}, Buttons: []Button{}, LEDs: []LED{}, Sensors: []Sensor{}}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	text, _ := os.ReadFile("camagent.yaml")
	for _, l := range leavesOf(&got) {
		if last := l.key[strings.LastIndex(l.key, ".")+1:]; !strings.Contains(string(text), last+":") {
			t.Errorf("the example does not show %s", l.key)
		}
	}
}

func TestFileEnvironmentFlagsInThatOrder(t *testing.T) {
	t.Parallel()
	file := write(t, "rtsp:\n  address: \":1\"\n  max_viewers: 5\nboard: pipe\npipe:\n  sources:\n    - {stream: main, command: [cat, x], fps: 25, early_cut: 3ms}\n")
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(flags, &Config{})
	if err := flags.Parse([]string{"--rtsp.address=:3", "--cloud.storage_hosts=c:1,d:2", "--cloud.allow_private"}); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, flags, []string{"CAMAGENT_RTSP_ADDRESS=:2", "CAMAGENT_RTSP_UDP=false", "CAMAGENT_RECORD_CLIP_LENGTH=10s", "CAMAGENT_CARD_DIR=/c", "CAMAGENT_CLOUD_STORAGE_HOSTS=a:1,b:2", "HOME=/x"})
	if err != nil {
		t.Fatal(err)
	}
	if c.RTSP.Address != ":3" || c.RTSP.UDP || c.RTSP.MaxViewers != 5 || c.Record.ClipLength != 10*time.Second ||
		!c.Cloud.AllowPrivate ||
		!reflect.DeepEqual(c.Cloud.StorageHosts, []string{"c:1", "d:2"}) || c.Pipe.Sources[0].EarlyCut != 3*time.Millisecond {
		t.Fatalf("%+v", c)
	}
}

func TestR9_EveryProblemIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "bored: sim\nrtsp:\n  adress: x\n  udp: maybe\n  max_viewers: 1.5\nrecord:\n  clip_length: soon\nstate_dir: [1]\nlog: {level: loud}\n")
	_, err := Load(file, nil, []string{"CAMAGENT_NOPE=1"})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"bored: is unknown", "rtsp.adress: is unknown, want one of rtsp.address", "rtsp.udp", "true or false",
		`rtsp.max_viewers: is "1.5", want a whole number`, "record.clip_length", "duration", "CAMAGENT_NOPE", "state_dir", "log.level"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if len(e.Problems) != 8 {
		t.Errorf("%d problems:\n%v", len(e.Problems), err)
	}
}

func v4l2(source string) string {
	return "board: v4l2\nv4l2: {sources: [{stream: main, " + source + "}]}"
}

func wired(what string) string { return "peripherals: {" + what + "}" }

func onboard(source string) string {
	return "board: onboard\nonboard: {sources: [{stream: main, " + source + "}]}"
}

func TestEveryBoardCanBeConfigured(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"board: sim\nsim: {scenario: /a.yaml, control: '-'}",
		wired("ir_filter: {in: a, out: b}, lights: [{kind: infrared, pwm: 'pwmchip0:1'}], light_sensor: {iio: in_illuminance_raw, dark: 3, bright: 0.5}"),
		wired("buttons: [{button: reset, key: KEY_RESTART}], leds: [{led: status, class: green}], siren: {line: x}, sensors: [{thermal: '*'}]"),
		"board: pipe\npipe: {sidecar: [/bin/true, a]}",
		"board: pipe\npipe: {sources: [{stream: main, command: [a, '{bitrate}'], bitrate: 500000, bitrate_range: {min: 100000, max: 900000}}]}",
		v4l2("device: /dev/video0, width: 640, height: 360, fps: 25, gop: 50, bitrate: 500000}, {stream: sub, device: 'usb:046d:082D:1A2B'"),
		onboard("url: 'rtsp://127.0.0.1:554/stream=0', user: root, password_file: /etc/p"),
	} {
		if _, err := Load(write(t, text), nil, nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestS3_EitherListenerOrBothCanBeOff(t *testing.T) {
	t.Parallel()
	for text, off := range map[string]bool{
		"rtsp: {address: ''}":                                            false,
		"rtsp: {tls_address: ''}":                                        false,
		"rtsp: {address: '', tls_address: ''}":                           true,
		"rtsp: {address: ':0', tls_address: ':0'}":                       false,
		"rtsp: {address: '127.0.0.1:1', tls_address: '10.0.0.1:1'}":      false,
		"rtsp: {multicast: true, tcp: false, udp: false}":                false,
		"rtsp: {multicast_group: 239.255.255.254, max_connections: 100}": false,
	} {
		c, err := Load(write(t, text), nil, nil)
		if err != nil || c.RTSP.Off() != off {
			t.Errorf("%s: off %v, %v", text, c.RTSP.Off(), err)
		}
	}
	c, err := Load("", nil, []string{"CAMAGENT_RTSP_TLS_ADDRESS="})
	if err != nil || c.RTSP.TLSAddress != "" || c.RTSP.Address != ":8554" {
		t.Errorf("%+v, %v", c.RTSP, err)
	}
}

func TestSimControl(t *testing.T) {
	t.Parallel()
	c := Default()
	for given, want := range map[string]string{"": "/var/lib/camagent/sim.sock", "-": "", "/run/s": "/run/s"} {
		if c.Sim.Control = given; c.SimControl() != want {
			t.Errorf("%q: %q", given, c.SimControl())
		}
	}
	if c.Board = BoardPipe; c.SimControl() != "" {
		t.Error("a control socket without the simulator")
	}
}

func TestS8_PasswordInAnAddressIsNotRepeated(t *testing.T) {
	t.Parallel()
	_, err := Load(write(t, onboard("url: 'rtsp://u:sec%ret@127.0.0.1/'")), nil, nil)
	if err == nil || strings.Contains(err.Error(), "sec") {
		t.Errorf("%v", err)
	}
}

// One negative case a rule: the key that is wrong must be named.
func TestR9_WrongValues(t *testing.T) {
	t.Parallel()
	for text, key := range map[string]string{
		"state_dir: here": "state_dir",
		"board: v4l9":     "board",
		"sim: {title: " + strings.Repeat("x", 41) + "}": "sim.title",
		"board: pipe": "pipe.sources",
		"board: pipe\npipe: {sources: [{stream: main, path: /x},{stream: third, path: /x}]}": "pipe.sources[1].stream",
		"board: pipe\npipe: {sources: [{stream: main, path: /x},{stream: main, path: /x}]}":  "pipe.sources[1].stream",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, command: [a]}]}":             "pipe.sources[0].command",
		"board: pipe\npipe: {sources: [{stream: main}]}":                                     "pipe.sources[0].command",
		"board: pipe\npipe: {sources: [{stream: main, path: x}]}":                            "pipe.sources[0].path",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, fps: -1}]}":                  "pipe.sources[0].fps",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, early_cut: 1s}]}":            "pipe.sources[0].early_cut",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, speed: 1}]}":                 "pipe.sources",
		"board: pipe\npipe: {sources: [{stream: sub, path: /x}]}":                            "pipe.sources",
		"sim: {scenario: x.yaml}": "sim.scenario",
		"sim: {display: x.png}":   "sim.display",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, width: 3}]}":                     "pipe.sources[0].height",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, fps_range: {min: 3}}]}":          "pipe.sources[0].fps_range",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, gop_range: {min: -3, max: 4}}]}": "pipe.sources[0].gop_range",
		"board: pipe\npipe: {sources: [{stream: main, path: /x, bitrate_range: {max: 4}}]}":      "pipe.sources[0].bitrate_range",
		"sim: {control: x.sock}": "sim.control",
		"board: pipe\npipe: {sidecar: [a], sources: [{stream: main, path: /x}]}": "pipe.sidecar",
		"board: v4l2":          "v4l2.sources",
		v4l2("device: video0"): "v4l2.sources[0].device",
		v4l2("device: /dev/video0, width: -1, height: 3"):                                  "v4l2.sources[0].width",
		v4l2("device: /dev/video0, width: 1, height: 9000"):                                "v4l2.sources[0].height",
		v4l2("device: /dev/video0, width: 640"):                                            "v4l2.sources[0].height",
		v4l2("device: /dev/video0, fps: 121"):                                              "v4l2.sources[0].fps",
		v4l2("device: /dev/video0, gop: -1"):                                               "v4l2.sources[0].gop",
		v4l2("device: /dev/video0, bitrate: 10"):                                           "v4l2.sources[0].bitrate",
		v4l2("device: /dev/video0}, {stream: sub, device: /dev/video0"):                    "v4l2.sources[1].device",
		v4l2("device: /dev/video0}, {stream: main, device: /dev/video1"):                   "v4l2.sources[1].stream",
		"board: v4l2\nv4l2: {sources: [{stream: main, device: /dev/video0}], still: jpeg}": "v4l2.still",
		"board: onboard":                                               "onboard.sources",
		onboard("url: http://127.0.0.1/"):                              "onboard.sources[0].url",
		onboard("url: 'rtsp://'"):                                      "onboard.sources[0].url",
		onboard("url: 'rtsp://u:secret@127.0.0.1/'"):                   "onboard.sources[0].url",
		onboard("url: 'rtsp://127.0.0.1/', user: a, password_file: x"): "onboard.sources[0].password_file",
		onboard("url: 'rtsp://127.0.0.1/', password_file: /x"):         "onboard.sources[0].user",
		"board: onboard\nonboard: {sources: [{stream: main, url: 'rtsp://h/'}], snapshot: 'ftp://h/'}":                "onboard.snapshot",
		"board: onboard\nsound: {microphone: x}\nonboard: {sources: [{stream: main, url: 'rtsp://h/'}], sound: main}": "sound.microphone",
		"board: onboard\nonboard: {sources: [{stream: main, url: 'rtsp://h/'}], sound: sub}":                          "onboard.sound",
		v4l2("device: 'usb:46d:82d'"):                                                       "v4l2.sources[0].device",
		"sound: {microphone: " + strings.Repeat("x", 65) + "}":                              "sound.microphone",
		"sound: {speaker: " + strings.Repeat("x", 65) + "}":                                 "sound.speaker",
		wired("ir_filter: {in: a}"):                                                         "peripherals.ir_filter.out",
		wired("ir_filter: {in: a, out: b, line: c}"):                                        "peripherals.ir_filter",
		wired("ir_filter: {active_low: true}"):                                              "peripherals.ir_filter",
		wired("ir_filter: {line: c, pulse: 3s}"):                                            "peripherals.ir_filter.pulse",
		wired("lights: [{kind: blue, line: a}]"):                                            "peripherals.lights[0].kind",
		wired("lights: [{kind: white, line: a},{kind: white, line: b}]"):                    "peripherals.lights[1].kind",
		wired("lights: [{kind: white}]"):                                                    "peripherals.lights[0]",
		wired("lights: [{kind: white, line: a, pwm: 'p:1'}]"):                               "peripherals.lights[0]",
		wired("lights: [{kind: white, pwm: 'p:1', period: 2s}]"):                            "peripherals.lights[0].period",
		wired("light_sensor: {dark: 1}"):                                                    "peripherals.light_sensor",
		wired("light_sensor: {file: /x, dark: 1, bright: 1}"):                               "peripherals.light_sensor.bright",
		wired("light_sensor: {line: x, dark: much}"):                                        "peripherals.light_sensor.dark",
		wired("buttons: [{key: KEY_A}]"):                                                    "peripherals.buttons[0].button",
		wired("buttons: [{button: a, key: KEY_A},{button: a, line: x}]"):                    "peripherals.buttons[1].button",
		wired("buttons: [{button: a}]"):                                                     "peripherals.buttons[0]",
		wired("buttons: [{button: a, line: x, debounce: 2s}]"):                              "peripherals.buttons[0].debounce",
		wired("leds: [{class: a}]"):                                                         "peripherals.leds[0].led",
		wired("leds: [{led: a, class: b, line: c}]"):                                        "peripherals.leds[0]",
		wired("siren: {active_low: true}"):                                                  "peripherals.siren.line",
		wired("sensors: [{sensor: a}]"):                                                     "peripherals.sensors[0]",
		"ring: {main_kb: 1}":                                                                "ring.main_kb",
		"ring: {sub_kb: 1}":                                                                 "ring.sub_kb",
		"rtsp: {address: nowhere}":                                                          "rtsp.address",
		"rtsp: {address: ':70000'}":                                                         "rtsp.address",
		"rtsp: {max_viewers: 0}":                                                            "rtsp.max_viewers",
		"rtsp: {tls_address: nowhere}":                                                      "rtsp.tls_address",
		"rtsp: {address: ':1', tls_address: 'h:1'}":                                         "rtsp.tls_address",
		"rtsp: {tcp: false, udp: false}":                                                    "rtsp.tcp",
		"rtsp: {multicast_group: here}":                                                     "rtsp.multicast_group",
		"rtsp: {multicast_group: 10.0.0.1}":                                                 "rtsp.multicast_group",
		"rtsp: {multicast_group: 224.0.0.1}":                                                "rtsp.multicast_group",
		"rtsp: {multicast_group: 239.255.255.255}":                                          "rtsp.multicast_group",
		"rtsp: {multicast_group: 'ff02::1'}":                                                "rtsp.multicast_group",
		"rtsp: {multicast_port: 5005}":                                                      "rtsp.multicast_port",
		"rtsp: {multicast_port: 80}":                                                        "rtsp.multicast_port",
		"rtsp: {multicast_interface: ../eth0}":                                              "rtsp.multicast_interface",
		"rtsp: {max_viewers: 100, max_connections: 99}":                                     "rtsp.max_connections",
		"rtsp: {send_buffer_kb: 31}":                                                        "rtsp.send_buffer_kb",
		"rtsp: {write_timeout: 0s}":                                                         "rtsp.write_timeout",
		"rtsp: {login_timeout: 2m}":                                                         "rtsp.login_timeout",
		"rtsp: {max_lag: 0s}":                                                               "rtsp.max_lag",
		"rtsp: {wrong_answers: 0}":                                                          "rtsp.wrong_answers",
		"rtsp: {block_time: 25h}":                                                           "rtsp.block_time",
		"record: {stream: third}":                                                           "record.stream",
		"record: {clip_length: 1s}":                                                         "record.clip_length",
		"card: {dir: card}":                                                                 "card.dir",
		"card: {limit_mb: 0}":                                                               "card.limit_mb",
		"cloud: {broker: ':1', storage_hosts: ['a:1']}":                                     "cloud.broker",
		"cloud: {broker: 'a:1'}":                                                            "cloud.storage_hosts",
		"cloud: {broker: 'a:1', storage_hosts: ['a']}":                                      "cloud.storage_hosts[0]",
		"cloud: {broker: 'a:1', storage_hosts: ['a:1'], roots_file: x}":                     "cloud.roots_file",
		"cloud: {broker: 'a:1', storage_hosts: ['a:1'], site: x}":                           "cloud.site",
		"cloud: {site: x}":                                                                  "cloud.site",
		"cloud: {sites: [{name: x, broker: 'a:1'}]}":                                        "cloud.storage_hosts",
		"cloud: {broker: 'b:1', sites: [{name: x, broker: 'a:1'}], storage_hosts: ['a:1']}": "cloud.broker",
		"cloud: {sites: [{name: X, broker: 'a:1'}], storage_hosts: ['a:1']}":                "cloud.sites[0].name",
		"cloud: {sites: [{name: auto, broker: 'a:1'}], storage_hosts: ['a:1']}":             "cloud.sites[0].name",
		"cloud: {sites: [{name: x, broker: 'a'}], storage_hosts: ['a:1']}":                  "cloud.sites[0].broker",
		"cloud: {sites: [{name: x, broker: 'a:1'}, {name: x, broker: 'b:1'}], storage_hosts: ['a:1']}": "cloud.sites[1].name",
		"cloud: {sites: [{name: x, broker: 'a:1'}], site: y, storage_hosts: ['a:1']}":                  "cloud.site",
		"pairing: {window: 2h}": "pairing.window",
		"log: {level: loud}":    "log.level",
		"log: {format: xml}":    "log.format",
	} {
		_, err := Load(write(t, text), nil, nil)
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) != 1 || e.Problems[0].Key != key {
			t.Errorf("%s: %v, want one problem with %s", text, err, key)
		}
	}
}

func TestUnreadableFilesAreOneClearLine(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"/nonexistent/camagent.yaml", write(t, "a: [b"), write(t, "\x00\x01")} {
		_, err := Load(file, nil, nil)
		if err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// S5: any bytes as a configuration file end in a Config or an error.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("rtsp: {address: ':1'}"))
	f.Add([]byte("board: pipe\npipe: {sources: [{stream: main, path: /x}]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path, nil, nil)
		var k Checks
		if c.check(&k); err == nil && len(k.problems) > 0 {
			t.Fatal("an invalid configuration was taken")
		}
	})
}

func TestR9_FileThatMayNotBeReadIsToldAsSuch(t *testing.T) {
	t.Parallel()
	err := fileError("/etc/c.yaml", &fs.PathError{Op: "open", Path: "/etc/c.yaml", Err: syscall.EACCES})
	if want := "configuration file /etc/c.yaml: may not be read by this user"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestP10_Sites(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "cloud: {sites: [{name: frankfurt, broker: 'f:1'}, {name: singapore, broker: 's:1'}], site: singapore, storage_hosts: ['a:1']}"), nil, nil)
	if err != nil || c.Cloud.Off() || c.Cloud.Pinned() != "singapore" || !slices.Equal(c.Cloud.AllSites(), []Site{{"frankfurt", "f:1"}, {"singapore", "s:1"}}) {
		t.Errorf("%+v, %v", c.Cloud, err)
	}
	c, err = Load(write(t, "cloud: {broker: 'f:1', storage_hosts: ['a:1']}"), nil, nil)
	if err != nil || c.Cloud.Off() || c.Cloud.Pinned() != "" || !slices.Equal(c.Cloud.AllSites(), []Site{{"", "f:1"}}) {
		t.Errorf("%+v, %v", c.Cloud, err)
	}
	if c = Default(); !c.Cloud.Off() || len(c.Cloud.AllSites()) > 0 {
		t.Errorf("%+v", c.Cloud)
	}
}
