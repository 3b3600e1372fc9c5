# shellcheck shell=bash
# Writes GIF.
build_meson -Dexamples=false -Dtests=false
