// Package stack runs the built programs together on loopback: camcloud with its
// broker and storage, a camera, and an owner who has bound it. `make run` is
// this and a few lines of print; the end-to-end tests and the benchmark are this
// and their questions. Everything lies in one folder, and a second start in the
// same folder goes on with it.
package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud/durable"
	"iid2secure.nl/camagent/scripts/port"
)

// Options of a stack.
type Options struct {
	Bin  string // folder of the built programs
	Dir  string // everything that is written
	RTSP string // rtsp.address of the camera; "": a free port on loopback
	// Camera is more configuration of the camera, by key, such as "board": "pipe".
	Camera map[string]any
	// Cloud is more arguments of camcloud run.
	Cloud []string
	// Storage, if set, is where an S3 server that the caller runs listens
	// (host:port); otherwise camcloud runs one. Cloud then says how to reach it.
	Storage string
}

// Stack is the running programs. Its methods are for one goroutine.
type Stack struct {
	opt    Options
	Cloud  *Proc
	Camera *Proc
	info   cloudInfo
}

// cloudInfo is what camcloud writes once it is ready.
type cloudInfo struct {
	Broker  string `json:"broker"`
	API     string `json:"api"`
	Storage string `json:"storage"`
	CA      string `json:"ca"`
	Token   string `json:"token"`
}

// New prepares the folder: a factory, and a device provisioned by it.
func New(ctx context.Context, opt Options) (*Stack, error) {
	s := &Stack{opt: opt}
	for _, d := range []string{"", "cloud", "camera", "owner", "clips"} {
		if err := os.MkdirAll(s.Path(d), 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(s.Path("camera", "state", "identity")); err == nil {
		return s, nil
	}
	// A start that was cut short may have left the factory alone.
	if _, err := os.Stat(s.Path("factory", "factory.pem")); err != nil {
		if _, err := s.Ctl(ctx, "factory", "init", s.Path("factory")); err != nil {
			return nil, err
		}
	}
	_, err := s.Ctl(ctx, "factory", "provision", "--ca", s.Path("factory"), "--out", s.Path("camera", "state"))
	return s, err
}

// Path is a path below the stack's folder.
func (s *Stack) Path(elem ...string) string {
	return filepath.Join(append([]string{s.opt.Dir}, elem...)...)
}

func (s *Stack) program(name string) string { return filepath.Join(s.opt.Bin, name) }

// StartCloud runs camcloud and waits until it is ready. Started again, it
// listens where it did before.
func (s *Stack) StartCloud(ctx context.Context) error {
	roots, err := filepath.Glob(s.Path("factory", "*.pem"))
	if err != nil || len(roots) == 0 {
		return fmt.Errorf("no factory certificate in %s", s.Path("factory"))
	}
	mqtt, https := s.info.Broker, strings.TrimPrefix(s.info.API, "https://")
	if mqtt == "" {
		if mqtt, err = port.Free(); err != nil {
			return err
		}
		if https, err = port.Free(); err != nil {
			return err
		}
	}
	args := []string{"run", "--dir", s.Path("cloud"), "--account", "demo", "--name", "127.0.0.1",
		"--factory_ca", roots[0], "--mqtt.address", mqtt, "--https.address", https, "--log.format", "console"}
	if s.opt.Storage == "" {
		args = append(args, "--s3.serve.binary", s.program("versitygw"))
		if s.info.Storage != "" {
			args = append(args, "--s3.serve.address", s.info.Storage)
		}
	}
	file := s.Path("cloud", "info.json")
	before := modified(file)
	if s.Cloud, err = startProc(s.opt.Dir, "camcloud", s.program("camcloud"), nil, append(args, s.opt.Cloud...)...); err != nil {
		return err
	}
	if err := until(ctx, s.Cloud, func() bool { return modified(file) != before }); err != nil {
		return err
	}
	_, err = durable.ReadJSON(file, &s.info)
	return err
}

func modified(file string) time.Time {
	if st, err := os.Stat(file); err == nil {
		return st.ModTime()
	}
	return time.Time{}
}

// CameraConfig is the camera's configuration file.
func (s *Stack) CameraConfig() string { return s.Path("camagent.yaml") }

// Configure replaces Options.Camera, for the next start.
func (s *Stack) Configure(camera map[string]any) { s.opt.Camera = camera }

// StartCamera writes the camera's configuration and runs it.
func (s *Stack) StartCamera() error {
	address := s.opt.RTSP
	if address == "" {
		address = "127.0.0.1:0"
	}
	cfg := map[string]any{
		"state_dir": s.Path("camera", "state"),
		"rtsp":      map[string]any{"address": address, "tls_address": "127.0.0.1:0"},
		"local":     map[string]any{"address": "127.0.0.1:0"},
		"record":    map[string]any{"clip_length": "10s"},
		"card":      map[string]any{"dir": s.Path("camera", "card")},
		"cloud": map[string]any{"broker": s.info.Broker, "roots_file": s.info.CA,
			"storage_hosts": []string{s.info.Storage}, "allow_private": true},
		"log": map[string]any{"format": "console"},
	}
	for k, v := range s.opt.Camera {
		cfg[k] = v
	}
	// JSON is YAML.
	if err := durable.WriteJSON(s.CameraConfig(), cfg); err != nil {
		return err
	}
	var err error
	s.Camera, err = startProc(s.opt.Dir, "camagent", s.program("camagent"), nil, "run", "--config", s.CameraConfig())
	return err
}

// Ctl runs camctl as the owner and returns its standard output; the error holds
// its standard error.
func (s *Stack) Ctl(ctx context.Context, args ...string) (string, error) {
	return s.CtlInput(ctx, "", args...)
}

// CtlInput is Ctl with a standard input, for what must not stand on a command line.
func (s *Stack) CtlInput(ctx context.Context, input string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, s.program("camctl"), args...)
	c.Env = append(os.Environ(), "CAMCTL_CONFIG="+s.Path("owner"), "CAMCTL_TOKEN="+s.info.Token, "CAMCTL_LAN=off")
	c.Stdin = strings.NewReader(input)
	var out, msg bytes.Buffer
	c.Stdout, c.Stderr = &out, &msg
	if err := c.Run(); err != nil {
		return out.String(), fmt.Errorf("camctl %s: %w: %s", args[0], err, strings.TrimSpace(msg.String()))
	}
	return out.String(), nil
}

// QR is the text that the camera shows.
func (s *Stack) QR(ctx context.Context, format string) (string, error) {
	out, err := exec.CommandContext(ctx, s.program("camagent"), "qr", "--config", s.CameraConfig(), "--format", format).Output()
	return strings.TrimRight(string(out), "\n"), err
}

// Simulate makes something happen to the simulated camera that runs, and returns
// the answer.
func (s *Stack) Simulate(ctx context.Context, action ...string) (string, error) {
	out, err := exec.CommandContext(ctx, s.program("camagent"), append([]string{"sim", "--config", s.CameraConfig()}, action...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Logged tells whether the camera's log has a line that matches pattern.
func (s *Stack) Logged(pattern string) bool {
	b, err := os.ReadFile(s.Camera.Log)
	return err == nil && regexp.MustCompile(pattern).Match(b)
}

// SignIn makes the cloud known to the owner.
func (s *Stack) SignIn(ctx context.Context) error {
	_, err := s.Ctl(ctx, "sign-in", s.info.API, "--roots", s.info.CA)
	return err
}

// Pair signs the owner in and binds the camera, unless it is the owner's already.
func (s *Stack) Pair(ctx context.Context) error {
	if err := s.SignIn(ctx); err != nil {
		return err
	}
	var list []struct {
		State string `json:"state"`
	}
	if err := s.CtlJSON(ctx, &list, "cameras"); err != nil || len(list) > 0 && list[0].State == "paired" {
		return err
	}
	qr, err := s.QR(ctx, "text")
	if err != nil {
		return err
	}
	_, err = s.CtlInput(ctx, qr+"\n", "pair", "-")
	return err
}

// CtlJSON runs camctl with --json and reads its answer into v.
func (s *Stack) CtlJSON(ctx context.Context, v any, args ...string) error {
	out, err := s.Ctl(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("camctl %s --json: %w", args[0], err)
	}
	return nil
}

// Live asks for the addresses of the live streams, by name, with the credential
// in them.
func (s *Stack) Live(ctx context.Context) (map[string]string, error) {
	l, err := s.LiveInfo(ctx)
	return l.URLs, err
}

// LiveInfo is all that camctl live tells, with the credential in the addresses.
func (s *Stack) LiveInfo(ctx context.Context) (command.Live, error) {
	var l command.Live
	err := s.CtlJSON(ctx, &l, "live")
	return l, err
}

// WaitLive asks until the camera, just started, serves.
func (s *Stack) WaitLive(ctx context.Context) (map[string]string, error) {
	for {
		urls, err := s.Live(ctx)
		if err == nil || ctx.Err() != nil {
			return urls, err
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// Sync runs `camctl sync --follow` into the clips folder.
func (s *Stack) Sync() (*Proc, error) {
	return startProc(s.opt.Dir, "sync", s.program("camctl"), []string{"CAMCTL_CONFIG=" + s.Path("owner")}, "sync", s.Path("clips"), "--follow")
}

// Start runs cloud and camera, and binds the camera.
func (s *Stack) Start(ctx context.Context) error {
	if err := s.StartCloud(ctx); err != nil {
		return err
	}
	if err := s.StartCamera(); err != nil {
		return err
	}
	return s.Pair(ctx)
}

// Close ends everything, the camera first, so that it can say goodbye.
func (s *Stack) Close() error {
	var errs []error
	for _, p := range []*Proc{s.Camera, s.Cloud} {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}
