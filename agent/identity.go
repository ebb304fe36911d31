package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"iid2secure.nl/camagent/cloud/identity"
	"iid2secure.nl/camagent/config"
	"iid2secure.nl/camagent/hal"
)

// LoadIdentity reads the device's identity: the board's own (board may be nil)
// if it keeps one, else that in the state folder. Only a simulated camera makes
// one there if there is none; a real one has it from its factory.
func LoadIdentity(cfg config.Config, board hal.IdentityStore) (*identity.Identity, error) {
	if board != nil {
		if id, err := boardIdentity(board); id != nil || err != nil {
			return id, err
		}
	}
	dir := filepath.Join(cfg.StateDir, "identity")
	id, err := identity.Load(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return id, err
	}
	if _, bound := os.Stat(filepath.Join(cfg.StateDir, "binding.json")); bound == nil {
		return nil, fmt.Errorf("no identity in %s, but binding.json beside it: the camera's keys are lost: put them back from a copy", dir)
	}
	if cfg.Board != config.BoardSim {
		return nil, fmt.Errorf("no identity in %s: provision the device with camctl factory provision --out %s", dir, cfg.StateDir)
	}
	if id, err = identity.NewSelfMade(); err != nil {
		return nil, err
	}
	return id, id.Save(dir)
}

// boardIdentity is what the board keeps; nil if it keeps none.
func boardIdentity(board hal.IdentityStore) (*identity.Identity, error) {
	files, err := board.Identity()
	if errors.Is(err, hal.ErrUnable) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the board's identity: %w", err)
	}
	id, err := identity.LoadFS(files, "the board's store")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return id, err
}
