#!/bin/sh
# Runs one static program, with its arguments, in a virtual machine:
#
#	scripts/vm/run.sh ARCH MODULES PROGRAM [ARGUMENT...]
#
# ARCH is arm64 or armhf; MODULES names kernel modules, comma separated, with
# their parameters behind a +: "uvcvideo,vhci-hcd,snd-aloop+pcm_substreams=2".
# Made for go test, which calls it in the folder of the package:
#
#	GOARCH=arm64 CGO_ENABLED=0 go test -tags vm \
#	    -exec "$PWD/scripts/vm/run.sh arm64 uvcvideo,vhci-hcd" ./hal/v4l2
#	GOARCH=arm GOARM=7 CGO_ENABLED=0 go test -tags vm -v -run Unplug \
#	    -exec "$PWD/scripts/vm/run.sh armhf uvcvideo,vhci-hcd" ./hal/v4l2
#
# Output and exit code are the program's. README.md tells more.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/kernel.sh" "$1"
root=$(cd "$here/../.." && pwd)
mkdir -p "$root/.vm/bin"
new=$root/.vm/bin/vm.$$
(cd "$root" && GOOS='' GOARCH='' GOARM='' GOFLAGS='' CGO_ENABLED=0 go build -trimpath -o "$new" ./scripts/vm)
mv "$new" "$root/.vm/bin/vm"
exec "$root/.vm/bin/vm" run "$@"
