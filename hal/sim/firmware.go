package sim

import (
	"context"
	"fmt"
	"io"
	"slices"

	"iid2secure.nl/camagent/hal"
)

// slotSize bounds an image of firmware, which the board keeps in memory.
const slotSize = 8 << 20

// slot is one place for firmware.
type slot struct {
	hal.Slot
	image   []byte
	written bool
}

func newSlots() []slot {
	return []slot{
		{Slot: hal.Slot{Name: "a", Size: slotSize, Active: true, Next: true, Confirmed: true}, written: true},
		{Slot: hal.Slot{Name: "b", Size: slotSize}},
	}
}

// Slots implements [hal.Firmware].
func (b *Board) Slots() ([]hal.Slot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []hal.Slot
	for _, s := range b.slots {
		list = append(list, s.Slot)
	}
	return list, nil
}

// slot finds a slot; the caller holds the lock.
func (b *Board) slot(name string) *slot {
	i := slices.IndexFunc(b.slots, func(s slot) bool { return s.Name == name })
	return &b.slots[i]
}

// WriteSlot implements [hal.Firmware]. A slot whose writing failed is empty.
func (b *Board) WriteSlot(ctx context.Context, name string, r io.Reader) error {
	b.mu.Lock()
	s := b.slot(name)
	s.image, s.written, s.Confirmed = nil, false, false
	if s.Next {
		b.next(b.active())
	}
	b.mu.Unlock()
	image, err := io.ReadAll(io.LimitReader(untilDone{ctx, r}, slotSize+1))
	if err == nil && len(image) == 0 {
		err = fmt.Errorf("%w: an empty image", hal.ErrArgument)
	}
	if err == nil && len(image) > slotSize {
		err = fmt.Errorf("%w: an image of more than %d bytes", hal.ErrArgument, slotSize)
	}
	if err != nil {
		return failed("firmware slot "+name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.image, s.written = image, true
	return nil
}

// BootNext implements [hal.Firmware].
func (b *Board) BootNext(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.slot(name)
	if !s.written {
		return failed("firmware slot "+name, fmt.Errorf("%w: nothing was written to it", hal.ErrArgument))
	}
	b.next(s)
	return nil
}

// Confirm implements [hal.Firmware].
func (b *Board) Confirm() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active().Confirmed = true
	return nil
}

func (b *Board) active() *slot {
	i := slices.IndexFunc(b.slots, func(s slot) bool { return s.Active })
	return &b.slots[i]
}

func (b *Board) next(s *slot) {
	for i := range b.slots {
		b.slots[i].Next = &b.slots[i] == s
	}
}

// SlotImage returns what was written to a slot, or nil; nobody may change it.
func (b *Board) SlotImage(name string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.slot(name).image
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
