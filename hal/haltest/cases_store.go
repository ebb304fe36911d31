package haltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"iid2secure.nl/camagent/hal"
)

func storeCases() []Case {
	return []Case{
		{"identity", "Identity returns the files that the factory wrote; an empty file system before that.",
			"a path that only the factory's user can read", 20 * time.Second, identity},
		{"firmware-slots", "Slots: two or more places for firmware; one runs now, one boots next.",
			"the running slot taken from a file that an update writes", 20 * time.Second, firmwareSlots},
		{"firmware-write", "WriteSlot fills a slot that is not active; BootNext makes it boot next time.",
			"a slot that boots although it was written in part", 5 * time.Minute, firmwareWrite},
	}
}

func identity(ctx context.Context, s *subject) error {
	k, err := need[hal.IdentityStore](ctx, s, hal.CapIdentity)
	if err != nil {
		return err
	}
	files, err := k.Identity()
	if err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		_, err = fs.ReadFile(files, path)
		return err
	})
}

func firmwareSlots(ctx context.Context, s *subject) error {
	f, err := need[hal.Firmware](ctx, s, "slots for firmware")
	if err != nil {
		return err
	}
	list, err := f.Slots()
	if err != nil {
		return err
	}
	active, next, names := 0, 0, []string(nil)
	for _, s := range list {
		names = append(names, s.Name)
		if s.Active {
			active++
		}
		if s.Next {
			next++
		}
		if s.Size <= 0 {
			return fmt.Errorf("slot %s can hold %d bytes", s.Name, s.Size)
		}
	}
	switch err := unique("slot", names); {
	case err != nil:
		return err
	case len(list) < 2 || active != 1 || next != 1:
		return fmt.Errorf("of %d slots %d run and %d boot next, want 2 slots at least, 1 and 1", len(list), active, next)
	}
	return nil
}

func firmwareWrite(ctx context.Context, s *subject) error {
	f, err := need[hal.Firmware](ctx, s, "slots for firmware")
	if err != nil {
		return err
	}
	if !s.Destructive {
		return lacks("left out: it would overwrite a slot")
	}
	list, err := f.Slots()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s hal.Slot) bool { return !s.Active })
	if i < 0 {
		return lacks("all its slots run")
	}
	spare := list[i].Name
	ended, cancel := context.WithCancel(ctx)
	cancel()
	image := bytes.Repeat([]byte("firmware"), 1<<10)
	if err := f.WriteSlot(ended, spare, bytes.NewReader(image)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("with a context that ended WriteSlot returned %v", err)
	}
	if err := f.WriteSlot(ctx, spare, bytes.NewReader(image)); err != nil {
		return err
	}
	if err := f.BootNext(spare); err != nil {
		return err
	}
	if list, err = f.Slots(); err != nil {
		return err
	}
	if !list[i].Next || list[i].Active {
		return fmt.Errorf("after BootNext slot %s is %+v", spare, list[i])
	}
	return f.Confirm()
}
