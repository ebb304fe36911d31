package kernel

import "unsafe"

func bytesOf(v *uint64) []byte { return (*[8]byte)(unsafe.Pointer(v))[:] }
