package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/agent"
	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

func TestR9_CheckTellsEveryProblemOfTheConfiguration(t *testing.T) {
	t.Parallel()
	file := writeConfig(t, "board: v4l2\ncard: {dir: here}\nlog: {level: loud}\n")
	out, err := camagent(t, "check", "--json", "--config", file)
	require.EqualError(t, err, "check: 1 failed")
	var r checkReport
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.False(t, r.OK)
	require.Len(t, r.Findings, 1)
	require.Len(t, r.Findings[0].Lines, 3)
	require.Nil(t, r.Board)

	out, err = camagent(t, "check", "--config", file)
	require.Error(t, err)
	require.Contains(t, out, "failed          configuration         v4l2.sources")
	require.Contains(t, out, "\n                                      card.dir")
}

func TestCheckIsRefusedWhileTheCameraRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, err := agent.Lock(dir)
	require.NoError(t, err)
	defer lock.Close()
	_, err = camagent(t, "check", "--state_dir", dir)
	require.ErrorIs(t, err, agent.ErrRunning)
	require.NotContains(t, err.Error(), "\n")
}

func TestCheckOfABoardThatIsNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := writeConfig(t, "board: pipe\npipe: {sources: [{stream: main, path: /nonexistent/film.h264}]}\nstate_dir: "+dir+"\ncard: {dir: "+dir+"/card}\n")
	out, err := camagent(t, "check", "--config", file)
	require.EqualError(t, err, "check: 2 failed")
	require.Contains(t, out, "failed          identity              no identity in")
	require.Contains(t, out, "failed          board                 board pipe")
	require.Contains(t, out, "ok              card")
	require.NoDirExists(t, filepath.Join(dir, "card"), "the check leaves nothing behind")
}

// The suite itself is tested in package haltest; here, that its outcome is told.
func TestCheckTellsWhichPromiseIsBroken(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &checkRun{report: checkReport{OK: true}, out: &out}
	broken := func() (*hardware, error) {
		return &hardware{board: struct{ hal.Board }{twins{sim.New(sim.Config{})}}}, nil
	}
	c.found("clock", "right", nil)
	c.suite(t.Context(), false, broken, "streams")
	require.False(t, c.report.OK)
	require.Contains(t, out.String(), "failed          streams")
	require.Contains(t, out.String(), "promise: Streams lists")
	require.ErrorContains(t, c.end(&out), "check: 1 failed")
	require.Equal(t, 1, strings.Count(out.String(), "not applicable"), "one count of all")
	require.Contains(t, out.String(), "\n1 ok, 1 failed, 0 not applicable\n")
}

func TestCheckOfTheStateFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lock, tell, err := checkState(dir)
	require.NoError(t, err)
	require.Equal(t, dir, tell)
	_, _, err = checkState(dir)
	require.ErrorIs(t, err, agent.ErrRunning)
	require.NoError(t, lock.Close())

	lock, tell, err = checkState(filepath.Join(dir, "not", "yet"))
	require.NoError(t, err)
	require.Nil(t, lock)
	require.Contains(t, tell, "not there yet")
	require.NoDirExists(t, filepath.Join(dir, "not"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, _, err = checkState(filepath.Join(dir, "file", "state"))
	require.ErrorContains(t, err, "not a directory")
}

// twins is a board with two streams of one name.
type twins struct{ hal.Board }

func (b twins) Streams() []hal.StreamInfo {
	s := b.Board.Streams()
	return []hal.StreamInfo{s[0], s[0]}
}

func TestCheckOfTheCard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tell, err := checkCard(config.Card{Dir: dir})
	require.NoError(t, err)
	require.Contains(t, tell, "writable")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = checkCard(config.Card{Dir: filepath.Join(dir, "not", "yet")})
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(dir, "not"), "the check leaves nothing behind")
	_, err = checkCard(config.Card{Dir: dir, RequireMount: true})
	require.ErrorContains(t, err, "nothing is mounted")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	_, err = checkCard(config.Card{Dir: filepath.Join(dir, "file", "card")})
	require.ErrorContains(t, err, "file")
}

func TestS9_CheckOfTheClock(t *testing.T) {
	t.Parallel()
	tell, err := checkClock(nil)
	require.NoError(t, err)
	require.NotEmpty(t, tell)
	require.False(t, agent.BuildTime().Before(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	id.TLS.Leaf.NotBefore = time.Now().Add(time.Hour)
	_, err = checkClock(id)
	require.ErrorContains(t, err, "provisioned")
}

func TestP4_CheckOfAServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(nil)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	var cfg config.Config
	cfg.Cloud.RootsFile = roots
	tell, err := checkServer(t.Context(), cfg, server{"storage", s.Listener.Addr().String(), false}, nil)
	require.NoError(t, err)
	require.Contains(t, tell, "trusted")

	id, err := identity.NewSelfMade()
	require.NoError(t, err)
	strict := httptest.NewUnstartedServer(nil)
	strict.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert}
	strict.Config.ErrorLog = log.New(io.Discard, "", 0)
	strict.StartTLS()
	defer strict.Close()
	_, err = checkServer(t.Context(), cfg, server{"broker", strict.Listener.Addr().String(), true}, id)
	require.ErrorContains(t, err, "refuses this camera's certificate")

	cfg.Cloud.RootsFile = ""
	_, err = checkServer(t.Context(), cfg, server{"storage", s.Listener.Addr().String(), false}, nil)
	require.ErrorContains(t, err, "certificate")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, err = checkServer(t.Context(), cfg, server{"storage", closed.Addr().String(), false}, nil)
	require.ErrorContains(t, err, "refused")
}

func TestProblemsAreALineEach(t *testing.T) {
	t.Parallel()
	err := errors.Join(errors.New("one"), errors.Join(errors.New("two\nlines"), errors.New("three")))
	require.Equal(t, "one|two; lines|three", strings.Join(problems(err), "|"))
}

func TestQRIsMadeOnceAndShown(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	first, err := camagent(t, "qr", "--state_dir", dir, "--format", "text")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, "IID2:"), first)
	again, err := camagent(t, "qr", "--state_dir", dir, "--format", "text")
	require.NoError(t, err)
	require.Equal(t, first, again)
	lock, err := agent.Lock(dir)
	require.NoError(t, err)
	defer lock.Close()
	again, err = camagent(t, "qr", "--state_dir", dir, "--format", "text")
	require.NoError(t, err, "beside a camera that runs")
	require.Equal(t, first, again)
}
