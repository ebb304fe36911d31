package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configure reads a configuration as the program does.
func configure(t *testing.T, text string) config.Config {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "camagent.yaml")
	text = strings.ReplaceAll(text, "DIR", dir) + "\nstate_dir: " + dir + "/state\ncard: {dir: " + dir + "/card}\nrtsp: {address: '127.0.0.1:0'}\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	cfg, err := config.Load(file, nil, nil)
	require.NoError(t, err)
	return cfg
}

func TestR9_BoardThatCanNotBeOpenedIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"board: sim\nsim: {scenario: DIR/none.yaml}": "none.yaml",
		"board: sim\nsim: {scenario: DIR/fifo}":      "no regular file",
		"board: onboard\nonboard: {sources: [{stream: main, url: 'rtsp://127.0.0.1/x', user: a, password_file: DIR/fifo}]}": "no regular file",
		"board: sim\nsim: {scenario: DIR/camagent.yaml}":                                                                    "unknown key",
		"board: pipe\npipe: {sources: [{stream: main, command: [no-such-program-8]}]}":                                      `"no-such-program-8"`,
		"board: pipe\npipe: {sources: [{stream: main, path: DIR/none.h264}]}":                                               "none.h264",
		"board: pipe\npipe: {sidecar: [no-such-program-8]}":                                                                 `no-such-program-8`,
		"board: v4l2\nv4l2: {sources: [{stream: main, device: /dev/null}]}":                                                 "/dev/null",
		"board: onboard\nonboard: {sources: [{stream: main, url: 'rtsp://127.0.0.1/x', user: a, password_file: DIR/none}]}": "onboard.sources[0].password_file",
		"peripherals: {leds: [{led: status, class: 'no:such:led'}]}":                                                        "no:such:led",
		"peripherals: {siren: {line: 'gpiochip77:3'}}":                                                                      "gpiochip77",
		"sound: {microphone: /dev/null}":                                                                                    "/dev/null",
	} {
		h, err := openHardware(t.Context(), configure(t, text), zap.NewNop())
		require.Nil(t, h, text)
		require.ErrorContains(t, err, want, text)
		if !strings.Contains(text, "camagent.yaml") { // a script's problems are a line each
			require.NotContains(t, err.Error(), "\n", text)
		}
	}
}

func TestMissingCameraIsStoodInForAndLookedFor(t *testing.T) {
	t.Parallel()
	cfg := configure(t, "board: v4l2\nv4l2: {sources: [{stream: sub, device: /dev/video98}, {stream: main, device: /dev/video99, width: 1280, height: 720}]}\nsound: {microphone: 'hw:77'}")
	h, err := openHardware(t.Context(), cfg, zap.NewNop())
	require.NoError(t, err)
	require.Len(t, h.missing, 2, "the camera, and its microphone")
	for _, m := range h.missing {
		require.ErrorIs(t, m.err, hal.ErrNotFound)
		require.ErrorIs(t, m.look(), hal.ErrNotFound)
	}
	require.Equal(t, "sound", h.missing[1].code)
	list := h.board.Streams()
	require.Len(t, list, 2)
	require.Equal(t, "main", list[0].Name, "the largest first")
	require.Equal(t, 1280, list[0].Default.Width)
	_, err = h.board.OpenVideo(t.Context(), "main", hal.VideoConfig{})
	require.ErrorIs(t, err, hal.ErrNotFound)
	require.ErrorContains(t, err, "/dev/video9")
	require.NoError(t, h.board.Close())

	_, err = openNow(t.Context(), cfg)
	require.ErrorIs(t, err, hal.ErrNotFound, "to camagent check a missing device is an error")
}

func TestR4_SidecarThatEndsAtOnceIsStartedAgain(t *testing.T) {
	t.Parallel()
	cfg := configure(t, "board: pipe\npipe: {sidecar: ['false']}\nrecord: {stream: sub}")
	h, err := openHardware(t.Context(), cfg, zap.NewNop())
	require.NoError(t, err)
	require.Len(t, h.missing, 1)
	require.ErrorIs(t, h.missing[0].look(), hal.ErrGone)
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	require.NoError(t, id.Save(filepath.Join(cfg.StateDir, "identity")))
	a, err := agent.New(cfg, hal.NewCamera(h.board), zap.NewNop())
	require.NoError(t, err, "every stream that can be configured is stood in for")
	require.NoError(t, a.Close())
}

func TestMissingDeviceThatComesEndsTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		began := time.Now()
		err := await(t.Context(), []absent{{look: func() error {
			if looks++; looks < 4 {
				return hal.ErrNotFound
			}
			return nil
		}}})
		require.ErrorIs(t, err, errCame)
		require.Equal(t, 4*lookEvery, time.Since(began))
	})
}

func TestCameraIsStartedAnewWithADeviceThatHasCome(t *testing.T) {
	t.Parallel()
	cfg := configure(t, "board: sim")
	start := func() *agent.Agent {
		a, err := agent.New(cfg, hal.NewCamera(sim.New(sim.Config{})), zap.NewNop())
		require.NoError(t, err)
		return a
	}
	err := runUntil(t.Context(), start(), nil, []absent{{look: func() error { return nil }}})
	require.ErrorIs(t, err, errCame)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = runUntil(ctx, start(), nil, []absent{{look: func() error { return errors.New("still not there") }}})
	require.NoError(t, err, "the state folder is free again, and an end that was asked for is none")
}

func TestEndThatIsAskedForWhileTheBoardOpensIsNoFailure(t *testing.T) {
	t.Parallel()
	cfg := configure(t, "board: pipe\npipe: {sidecar: [sleep, '1000']}")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.NoError(t, runOnce(ctx, cfg, zap.NewNop(), nil, false))
}

// Everything that can be configured reaches the part that it is for.
func TestPeripheralsReachTheirPart(t *testing.T) {
	t.Parallel()
	pc, wired := peripherals(config.Peripherals{})
	require.False(t, wired)
	require.Zero(t, pc)
	cfg := configure(t, `peripherals:
  ir_filter: {in: a, out: b, pulse: 120ms}
  lights: [{kind: infrared, pwm: "pwmchip0:1", period: 2ms, active_low: true}]
  light_sensor: {file: /dev/adc, dark: 3.5, bright: 900}
  buttons: [{button: reset, key: KEY_RESTART, device: gpio-keys, debounce: 10ms}]
  leds: [{led: status, class: green}]
  siren: {line: s, active_low: true}
  sensors: [{sensor: soc, thermal: cpu}]
`)
	pc, wired = peripherals(cfg.Peripherals)
	require.True(t, wired)
	require.Equal(t, "b", pc.IRFilter.Out)
	require.Equal(t, 120*time.Millisecond, pc.IRFilter.Pulse)
	require.Equal(t, 2*time.Millisecond, pc.Lights[0].Period)
	require.True(t, pc.Lights[0].ActiveLow)
	require.Equal(t, 3.5, pc.LightSensor.Dark)
	require.Equal(t, "gpio-keys", pc.Buttons[0].Device)
	require.Equal(t, "green", pc.LEDs[0].Class)
	require.True(t, pc.Siren.ActiveLow)
	require.Equal(t, "cpu", pc.Sensors[0].Thermal)
}

func TestS8_PasswordOfAStreamerIsReadFromItsFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("secret\r\nmore"), 0o600))
	got, err := readPassword(file)
	require.NoError(t, err)
	require.Equal(t, "secret", got)
	got, err = readPassword("")
	require.NoError(t, err)
	require.Empty(t, got)
}
