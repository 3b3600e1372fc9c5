# shellcheck shell=bash
# libvips, with the loaders and savers of the five formats and nothing else.

# The Rust crate quantizr supplies its symbols at the final link; here its header and a .pc file suffice.
prefix=$STAGE$FIXED_PREFIX
install -D -m 644 "$RECIPE/quantizr.h" "$prefix/include/quantizr.h"
cat >"$prefix/lib/pkgconfig/quantizr.pc" <<PC
Name: quantizr
Description: palette quantiser, linked as a Rust crate
Version: 1.4
Cflags: -I$prefix/include
PC

# With the libraries that a static libheif needs, or meson's trial links fail and libvips is built without these.
setup_meson -Dauto_features=disabled -Dprefer_static=true \
    -Dmodules=disabled -Dintrospection=disabled -Dcplusplus=false -Ddeprecated=false -Dexamples=false \
    -Djpeg=enabled -Dspng=enabled -Dwebp=enabled -Dcgif=enabled -Dheif=enabled -Dquantizr=enabled \
    -Dexif=disabled -Dlcms=enabled -Dzlib=enabled -Dhighway=enabled \
    -Dnsgif=true -Dppm=false -Danalyze=false -Dradiance=false
# Colour profiles of AVIF, and libheif's own limits.
for name in HAVE_HEIF_COLOR_PROFILE HAVE_HEIF_SET_MAX_IMAGE_SIZE_LIMIT; do
    grep "define $name" _build/config.h || { echo "libvips found no $name" >&2; exit 1; }
done
# The command-line tools would need the symbols of quantizr: build the archive alone.
ninja -C _build -j "$JOBS" libvips/libvips.a
install -D -m 644 _build/libvips/libvips.a "$prefix/lib/libvips.a"
