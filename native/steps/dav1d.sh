# shellcheck shell=bash
# Decodes AV1.
build_meson -Denable_tools=false -Denable_tests=false -Dlogging=false
