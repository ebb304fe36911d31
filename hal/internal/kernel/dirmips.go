//go:build mips || mipsle || mips64 || mips64le

package kernel

// dirBits: MIPS has 3 bits for the direction: 1 none, 2 read, 4 write.
func dirBits(direction int) uintptr {
	return [4]uintptr{None: 1, Write: 4, Read: 2, Both: 6}[direction&3] << 29
}
