# shellcheck shell=bash
# SIMD chosen at run time; without it libvips resizes slower than Debian's shared one.
build_cmake -DHWY_ENABLE_CONTRIB=OFF -DHWY_ENABLE_EXAMPLES=OFF -DHWY_ENABLE_TESTS=OFF
