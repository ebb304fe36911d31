package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/spool"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

func testConfig(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.StateDir, cfg.Card.Dir = filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "mnt", "card")
	cfg.RTSP.Address, cfg.RTSP.TLSAddress, cfg.Local.Address = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return cfg
}

func testAgent(t *testing.T, cfg config.Config) *Agent {
	t.Helper()
	a, err := New(cfg, hal.NewCamera(sim.New(sim.Config{})), zap.NewNop())
	require.NoError(t, err)
	return a
}

func TestStateFolderIsForOneCamera(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	a := testAgent(t, cfg)
	cfg.Card.Dir += "-other"
	_, err := New(cfg, hal.NewCamera(sim.New(sim.Config{})), zap.NewNop())
	require.ErrorContains(t, err, cfg.StateDir+": another camagent runs in it")
	a.close()
	testAgent(t, cfg).close()
}

func TestR7_MissingCardIsAConditionAndItIsTakenWhenItComes(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	mnt := filepath.Dir(cfg.Card.Dir)
	require.NoError(t, os.WriteFile(mnt, nil, 0o600)) // not even a folder can be made there
	a := testAgent(t, cfg)
	defer a.close()
	list := a.health.conditions()
	require.Len(t, list, 1)
	require.Equal(t, "card", list[0].Code)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.watchCard(ctx) }()
	require.NoError(t, os.Remove(mnt))
	require.NoError(t, os.Mkdir(mnt, 0o700))
	require.Eventually(t, func() bool { return len(a.health.conditions()) == 0 }, 3*cardEvery, 10*time.Millisecond)
	cancel()
	<-done
	_, err := a.card.Add(cloud.ClipName(time.Now())+".jpg.age", spool.Snapshot, []byte("sealed"))
	require.NoError(t, err)
}

func TestR7_CardThatIsPulledIsTold(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	a := testAgent(t, cfg)
	defer a.close()
	require.NoError(t, a.lookAtCard(true))
	require.NoError(t, os.Rename(cfg.Card.Dir, cfg.Card.Dir+".pulled"))
	require.ErrorContains(t, a.lookAtCard(true), "the card is gone")
	require.NoDirExists(t, cfg.Card.Dir, "an empty folder took its place, and nobody was told")
	require.NoError(t, os.Rename(cfg.Card.Dir+".pulled", cfg.Card.Dir))
	require.NoError(t, a.lookAtCard(false))
}

func TestR7_CardThatMustBeMounted(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Card.RequireMount = true
	a := testAgent(t, cfg)
	defer a.close()
	require.ErrorContains(t, a.lookAtCard(false), "nothing is mounted there")
}

func TestR7_CardThatIsFullIsACondition(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.limit = 100_000
	b.start()
	k := b.create()
	_, err := k.Write(make([]byte, 300_000))
	require.ErrorIs(t, err, spool.ErrFull)
	require.Equal(t, b.frame, k.Fail(24))
	require.Equal(t, []string{"card"}, codes(b.store.health))
	require.Contains(t, b.store.health.conditions()[0].Message, "full")
}

func codes(h *health) (out []string) {
	for _, c := range h.conditions() {
		out = append(out, c.Code)
	}
	return out
}

func TestStateThatCannotBeWrittenIsACondition(t *testing.T) {
	t.Parallel()
	b := newStoreBench(t)
	b.start()
	require.Error(t, b.store.failed(os.ErrPermission))
	require.Equal(t, []string{"recording"}, codes(b.store.health), "not the card's fault")
}

func TestStreamThatTheBoardLacksCannotBeRecorded(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Record.Stream = "third"
	_, err := New(cfg, hal.NewCamera(sim.New(sim.Config{})), zap.NewNop())
	require.ErrorContains(t, err, `record.stream: is "third"`)
}

func TestLostCertificateOfABoundCameraIsNoReasonForANewIdentity(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	testAgent(t, cfg).close()
	dir := filepath.Join(cfg.StateDir, "identity")
	key := filepath.Join(dir, "noise.key")
	before, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(cfg.StateDir, "binding.json"), []byte("{}"), 0o600))
	require.NoError(t, os.Remove(filepath.Join(dir, "device.pem")))
	_, err = LoadIdentity(cfg, nil)
	require.ErrorContains(t, err, "the camera's keys are lost")
	after, err := os.ReadFile(key)
	require.NoError(t, err)
	require.Equal(t, before, after, "the keys that are left are kept")
}
