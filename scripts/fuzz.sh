#!/bin/sh
# Runs every fuzz target for a number of inputs: fuzz.sh 20000x
# A number, not a time: before Go 1.27 a run that ends by time may fail with
# "context deadline exceeded" although nothing was found (go.dev/issue/75804).
# Each package is built once: go test -fuzz would link it anew for every target.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cache=$(go env GOCACHE)/fuzz
root=$(pwd)
for path in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u); do
	go test -c -fuzz . -o "$dir/test" "./$path"
	for target in $("$dir/test" -test.list '^Fuzz'); do
		echo "== $path $target"
		(cd "$path" && "$dir/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$1" \
			-test.fuzzcachedir "$cache/$(head -n 1 "$root/go.mod" | cut -d ' ' -f 2)/$path")
	done
done
