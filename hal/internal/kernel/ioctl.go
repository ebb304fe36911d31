// Package kernel is the little that boards share to speak to device nodes by
// system calls: numbers of ioctls, which differ between processors, a wait for
// devices that another goroutine can end, times of the kernel's stamps, and why
// a node can't be opened.
package kernel

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Directions of an ioctl's argument, as seen by the program.
const (
	None  = 0
	Write = 1
	Read  = 2
	Both  = Read | Write
)

// Number makes an ioctl's number of the direction and size of its argument, the
// driver's letter and the number within it.
func Number(direction int, letter byte, nr, size uintptr) uintptr {
	return dirBits(direction) | size<<16 | uintptr(letter)<<8 | nr
}

// Ioctl calls fd's driver; interrupted calls are made again. The argument must
// be of the size that its number tells.
func Ioctl(fd int, number uintptr, arg unsafe.Pointer) error {
	for {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, uintptr(arg))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}

// Text returns a C string without what stands behind its end.
func Text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
