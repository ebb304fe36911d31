#!/bin/sh
# Stands in for a player: writes down how it was called, then does what the test says.
cd "$(dirname "$0")" && echo "$@" >args && cat >input && . ./script
