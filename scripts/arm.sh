#!/bin/sh
# Runs tests as 32-bit ARM on this machine, by qemu-user:
#
#	scripts/arm.sh [ARGUMENT OF GO TEST...] PACKAGE...
#
# ARM programs start directly here, so that tests that start themselves again,
# or other programs, work. That is arranged in a namespace of its own, where the
# kernel can (Linux 6.7 and later); nothing on the machine changes.
set -eu
qemu=$(command -v qemu-arm-static) || { echo "arm.sh: qemu-arm-static is missing: Debian package qemu-user-static" >&2; exit 1; }
export GOOS=linux GOARCH=arm GOARM=7 CGO_ENABLED=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# The first 20 bytes of a little-endian ELF file for ARM, and which bits count.
magic='\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
rule=":arm:M::$magic:$mask:$qemu:F"
# shellcheck disable=SC2016 # the inner shell expands it
if unshare -r -m sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null; then
	run() {
		unshare -r -m sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc &&
			printf %s "$1" >/proc/sys/fs/binfmt_misc/register && shift && exec "$@"' sh "$rule" "$@"
	}
else # an older kernel: the machine itself may know ARM programs
	run() { "$@"; }
fi
run go test -trimpath "$@"
