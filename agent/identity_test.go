package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
	"iid2secure.nl/camagent/hal/sim"
)

// keeper is a part that keeps an identity.
type keeper struct{ files fs.FS }

func (k keeper) Identity() (fs.FS, error) { return k.files, nil }

func TestIdentityOfTheBoardWins(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	made, err := identity.NewSelfMade()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "flash")
	require.NoError(t, made.Save(dir))

	store := hal.NewCamera(sim.New(sim.Config{}), keeper{os.DirFS(dir)})
	defer store.Close()
	id, err := LoadIdentity(cfg, store)
	require.NoError(t, err)
	require.Equal(t, made.Serial, id.Serial)
	require.NoDirExists(t, cfg.StateDir, "one of its own was made beside it")

	require.NoError(t, os.Remove(filepath.Join(dir, "noise.key")))
	_, err = LoadIdentity(cfg, store)
	require.ErrorContains(t, err, "the board's store/noise.key: is missing")
	require.NoDirExists(t, cfg.StateDir, "a new identity was made over a broken one")
}

func TestIdentityOfABoardWithAnEmptyStoreIsInTheStateFolder(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	board := hal.NewCamera(sim.New(sim.Config{}), keeper{fstest.MapFS{}})
	defer board.Close()
	id, err := LoadIdentity(cfg, board)
	require.NoError(t, err)
	again, err := LoadIdentity(cfg, nil)
	require.NoError(t, err)
	require.Equal(t, id.Serial, again.Serial)

	cfg.Board, cfg.StateDir = config.BoardPipe, t.TempDir()
	_, err = LoadIdentity(cfg, board)
	require.ErrorContains(t, err, "camctl factory provision --out "+cfg.StateDir)
}
