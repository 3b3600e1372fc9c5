# shellcheck shell=bash
# Encodes JPEG XL; patches/libjxl-encoder-only.patch leaves out the rest. Compiled by hand, because cmake requires brotli
# and builds more than is linked. -O2: what takes the time is intrinsics. SIMD is chosen at run time: SSE2 or AVX2; NEON
# on AArch64.

# Highway and lcms2 are those built before. What is not compiled has no licence that must be kept.
rm -rf third_party lib/extras tools
mkdir -p _build/include/jxl
for header in jxl_export jxl_cms_export; do
    printf '#define JXL_EXPORT\n#define JXL_CMS_EXPORT\n#define JXL_DEPRECATED\n' >"_build/include/jxl/$header.h"
done
IFS=. read -r major minor patch <<<"$VERSION"
sed -e "s/@JPEGXL_MAJOR_VERSION@/$major/" -e "s/@JPEGXL_MINOR_VERSION@/$minor/" \
    -e "s/@JPEGXL_PATCH_VERSION@/$patch/" lib/jxl/version.h.in >_build/include/jxl/version.h

prefix=$STAGE$FIXED_PREFIX
export FLAGS="$CXXFLAGS -O2 -DNDEBUG -std=c++17 -fPIC -fvisibility=hidden -fno-rtti -fno-exceptions -fno-unwind-tables \
-fno-asynchronous-unwind-tables -fmerge-all-constants -DJPEGXL_ENABLE_SKCMS=0 -DJPEGXL_ENABLE_TRANSCODE_JPEG=0 \
-DJPEGXL_ENABLE_BOXES=0 -DFJXL_ENABLE_AVX512=0 -I. -I_build/include -Ilib/include -I$prefix/include"
targets='HWY_SSSE3|HWY_SSE4|HWY_AVX3|HWY_AVX3_DL|HWY_AVX3_ZEN4|HWY_AVX3_SPR'
targets+='|HWY_NEON|HWY_NEON_BF16|HWY_SVE|HWY_SVE_256|HWY_SVE2|HWY_SVE2_128'
export TARGETS="($targets)"
# shellcheck disable=SC2016 # the inner shell expands them
find lib/jxl -name '*.cc' ! -path 'lib/jxl/jpeg/*' \
    ! -name 'decode*' ! -name 'box_*' ! -name '*test*' ! -name '*_gbench.cc' |
    LC_ALL=C sort |
    xargs -P "$JOBS" -I '{}' sh -c \
        '$CXX $FLAGS "-DHWY_DISABLED_TARGETS=$TARGETS" -c "$1" -o "_build/$(printf %s "$1" | tr / -).o"' sh '{}'
$AR rcsD _build/libjxl.a _build/*.o

install -D -m 644 -t "$prefix/lib" _build/libjxl.a
install -D -m 644 -t "$prefix/include/jxl" lib/include/jxl/*.h _build/include/jxl/*.h
