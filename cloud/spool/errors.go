package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// cardError sorts a failure of the file system into the kinds that an owner can
// do something about. R7.
func cardError(doing string, err error) error {
	if err == nil {
		return nil
	}
	var kind error
	switch {
	case errors.Is(err, ErrFull), errors.Is(err, ErrReadOnly), errors.Is(err, ErrGone):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = ErrFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		kind = ErrReadOnly
	case errors.Is(err, fs.ErrExist):
		kind = ErrName
	default: // EIO, ENODEV, ENXIO, ESTALE, a folder that vanished
		kind = ErrGone
	}
	return fmt.Errorf("%s: %w: %w", doing, kind, err)
}
