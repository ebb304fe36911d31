//go:build !mips && !mipsle && !mips64 && !mips64le

package kernel

func dirBits(direction int) uintptr { return uintptr(direction) << 30 }
