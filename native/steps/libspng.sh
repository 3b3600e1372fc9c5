# shellcheck shell=bash
# Reads and writes PNG.
build_meson -Dbuild_examples=false
