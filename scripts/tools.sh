#!/bin/sh
# Installs what the tests need beyond Go (as root), or names it (otherwise).
set -eu
missing=""
PATH=$PATH:/usr/sbin:/sbin
need() { # program package
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev" # for the race detector
need ffmpeg ffmpeg
need ffprobe ffmpeg
need age age
need curl curl
need openssl openssl
need mosquitto mosquitto
need zbarimg zbar-tools
need gst-launch-1.0 gstreamer1.0-tools
plugin() { # GStreamer element, package
	command -v gst-inspect-1.0 >/dev/null 2>&1 && gst-inspect-1.0 --exists "$1" || missing="$missing $2"
}
plugin rtspsrc gstreamer1.0-plugins-good
plugin h264parse gstreamer1.0-plugins-bad
plugin srtpdec gstreamer1.0-plugins-bad
plugin gdppay gstreamer1.0-plugins-bad
plugin avenc_g722 gstreamer1.0-libav
need tshark tshark
need ip iproute2
need nsenter util-linux
need node nodejs
need npm npm
need pkg-config pkgconf
pkg-config --exists gstreamer-rtsp-server-1.0 2>/dev/null || missing="$missing libgstrtspserver-1.0-dev"
need qemu-arm-static qemu-user-static
need qemu-arm qemu-user # it alone takes plugins, which make bench-arm needs
need qemu-system-arm qemu-system-arm
need modprobe kmod
need mkfs.ext4 e2fsprogs
need mkfs.vfat dosfstools
need mkfs.exfat exfatprogs
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
missing=${missing# }
if [ -n "$missing" ] && [ "$(id -u)" -ne 0 ]; then
	echo "tests need these Debian packages: $missing" >&2
	echo "install them:  sudo apt-get install --no-install-recommends $missing" >&2
	exit 1
fi
if [ -n "$missing" ]; then
	echo "installing for the tests: $missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
# The npm packages of one viewer, by their lock file, if they are not there.
cd "$(dirname "$0")/viewers/yellowstone"
[ node_modules/.package-lock.json -nt package-lock.json ] ||
	npm ci --silent --no-audit --no-fund --ignore-scripts
