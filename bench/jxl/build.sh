#!/usr/bin/env bash
# Builds libjxl 0.12.0 with its decoder and all efforts, which the server does not have, and the program jxl.c with it,
# and prints the path of the program. The source is the archive from which native/build.sh takes the server's.
# Usage: bench/jxl/build.sh DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/../.."
# places.tsv has its SHA-256.
CRATE=jpegxl-src-0.12.0

mkdir -p "$1"
directory=$(realpath "$1")
sha=$(awk -F '\t' '$3 == "jpegxl-src/0.12.0" {print $4; exit}' native/places.tsv)
(cd "$directory" && cargo info --quiet "${CRATE%-*}@${CRATE##*-}") >&2
for archive in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/"$CRATE.crate"; do
    sha256sum --check --quiet <<<"$sha  $archive"
    tar -xzf "$archive" -C "$directory"
    break
done
source=$directory/$CRATE/libjxl
build=$directory/build
# As native/steps build: -O2. AVX2 or SSE2, chosen at run time.
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG" "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG" \
    "-DCMAKE_C_FLAGS=-ffunction-sections -fdata-sections" "-DCMAKE_CXX_FLAGS=-ffunction-sections -fdata-sections" \
    -DBUILD_TESTING=OFF -DBUILD_SHARED_LIBS=OFF -DJPEGXL_ENABLE_TOOLS=OFF -DJPEGXL_ENABLE_DOXYGEN=OFF \
    -DJPEGXL_ENABLE_MANPAGES=OFF -DJPEGXL_ENABLE_BENCHMARK=OFF -DJPEGXL_ENABLE_EXAMPLES=OFF -DJPEGXL_ENABLE_JNI=OFF \
    -DJPEGXL_ENABLE_SJPEG=OFF -DJPEGXL_ENABLE_OPENEXR=OFF -DJPEGXL_BUNDLE_LIBPNG=OFF \
    -DJPEGXL_ENABLE_TRANSCODE_JPEG=OFF -DJPEGXL_ENABLE_TCMALLOC=OFF -DJPEGXL_ENABLE_HWY_SSE4=OFF \
    -DJPEGXL_ENABLE_HWY_SSSE3=OFF -DJPEGXL_ENABLE_HWY_AVX3=OFF -DJPEGXL_ENABLE_HWY_AVX3_ZEN4=OFF \
    -DJPEGXL_ENABLE_HWY_AVX3_SPR=OFF >&2
ninja -C "$build" jxl jxl_cms >&2
cc -O2 -o "$directory/jxl" bench/jxl/jxl.c "-I$build/lib/include" "-I$source/lib/include" \
    "$build/lib/libjxl.a" "$build/lib/libjxl_cms.a" "$build/third_party/highway/libhwy.a" \
    "$build/third_party/brotli/libbrotlienc.a" "$build/third_party/brotli/libbrotlidec.a" \
    "$build/third_party/brotli/libbrotlicommon.a" -Wl,--gc-sections -lstdc++ -lm
printf '%s\n' "$directory/jxl"
