#!/bin/sh
# Fetches Debian's stock kernel for an architecture (arm64, armhf) with apt, from
# the mirror that this machine uses, into .vm/ARCH; apt's own state stays as it is.
set -eu
arch=$1
case $arch in
arm64) meta=linux-image-arm64 ;;
armhf) meta=linux-image-armmp ;;
*) echo "kernel.sh: no kernel for \"$arch\": want arm64 or armhf" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin # depmod
mkdir -p .vm
exec 9>.vm/lock
flock 9
[ ! -e ".vm/$arch/kernel" ] || exit 0

apt=$PWD/.vm/apt
mkdir -p "$apt/machine/partial" "$apt/lists/partial" "$apt/archives/partial"
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror() { # option...: the machine's mirror, as its package lists tell
	apt-get "$@" indextargets --format '$(SITE)' "Codename: $codename" 'Component: main' 'Origin: Debian' | head -n 1
}
site=$(mirror)
if [ -z "$site" ]; then # the machine has no package lists
	apt-get -qq -o Dir::State::Lists="$apt/machine" -o Dir::Cache="$apt" -o APT::Sandbox::User= update
	site=$(mirror -o Dir::State::Lists="$apt/machine")
fi
[ -n "$site" ] || { echo "kernel.sh: apt has no Debian mirror for \"$codename\": see /etc/apt/sources.list" >&2; exit 1; }
echo "deb [arch=$arch signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $codename main" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt";
Dir::Cache::Archives "$apt/archives";
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; "armhf"; };
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
export APT_CONFIG="$apt/apt.conf"
echo "fetching the kernel of Debian $codename for $arch (once)" >&2
apt-get update -qq
package=$(apt-cache depends "$meta:$arch" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ :]*\).*/\1/p' | head -n 1)
[ -n "$package" ] || { echo "kernel.sh: $site has no $meta for $arch" >&2; exit 1; }
(cd "$apt/archives" && apt-get download -qq "$package:$arch")
new=.vm/$arch.new
rm -rf "$new" ".vm/$arch"
mkdir "$new"
dpkg -x "$apt/archives/${package}"_*"_$arch.deb" "$new"
rm -f "$apt/archives/${package}"_*
find "$new/lib/modules" -name '*.ko.xz' -exec xz -d {} +
depmod -b "$new" "$(ls "$new/lib/modules")"
mv "$new"/boot/vmlinuz-* "$new/kernel"
rm -rf "$new/boot" "$new/usr"
mv "$new" ".vm/$arch"
