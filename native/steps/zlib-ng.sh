# shellcheck shell=bash
# Compresses and decompresses for libspng and libvips, which call it by the names of zlib.
build_cmake -DZLIB_COMPAT=ON
