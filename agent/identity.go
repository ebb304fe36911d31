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

// ReadIdentity reads the device's identity: the board's own (board may be nil)
// if it keeps one, else that in the state folder. fs.ErrNotExist if there is none.
func ReadIdentity(cfg config.Config, board hal.IdentityStore) (*identity.Identity, error) {
	if board != nil {
		if id, err := boardIdentity(board); id != nil || err != nil {
			return id, err
		}
	}
	dir := filepath.Join(cfg.StateDir, "identity")
	id, err := identity.Load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if _, bound := os.Stat(filepath.Join(cfg.StateDir, "binding.json")); bound == nil {
		return nil, fmt.Errorf("no identity in %s, but binding.json beside it: the camera's keys are lost: put them back from a copy", dir)
	}
	return nil, noIdentity{cfg.StateDir}
}

// noIdentity says what to do; it is fs.ErrNotExist.
type noIdentity struct{ stateDir string }

func (e noIdentity) Error() string {
	return fmt.Sprintf("no identity in %s: provision the device with camctl factory provision --out %s", filepath.Join(e.stateDir, "identity"), e.stateDir)
}

func (noIdentity) Is(target error) bool { return target == fs.ErrNotExist }

// LoadIdentity is ReadIdentity, but a simulated camera makes an identity in the
// state folder if there is none; a real one has it from its factory.
func LoadIdentity(cfg config.Config, board hal.IdentityStore) (*identity.Identity, error) {
	id, err := ReadIdentity(cfg, board)
	if !errors.Is(err, fs.ErrNotExist) || cfg.Board != config.BoardSim {
		return id, err
	}
	if id, err = identity.NewSelfMade(); err != nil {
		return nil, err
	}
	return id, id.Save(filepath.Join(cfg.StateDir, "identity"))
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
