# shellcheck shell=bash
# libvips, with the loaders and savers of JPEG, PNG, WebP and GIF and nothing else.

# The Rust crate quantizr supplies its symbols at the final link; its header and a .pc file suffice here.
prefix=$STAGE$FIXED_PREFIX
install -D -m 644 "$RECIPE/quantizr.h" "$prefix/include/quantizr.h"
write_pkgconfig quantizr 1.4 "palette quantizer, linked as a Rust crate" ""

setup_meson -Dauto_features=disabled -Dprefer_static=true \
    -Dmodules=disabled -Dintrospection=disabled -Dcplusplus=false -Ddeprecated=false -Dexamples=false \
    -Djpeg=enabled -Dspng=enabled -Dwebp=enabled -Dcgif=enabled -Dquantizr=enabled \
    -Dexif=disabled -Dheif=disabled -Dlcms=enabled -Dzlib=enabled -Dhighway=enabled \
    -Dnsgif=true -Dppm=false -Danalyze=false -Dradiance=false
# The command-line tools would need the symbols of quantizr: build the archive alone.
ninja -C _build -j "$JOBS" libvips/libvips.a
install -D -m 644 _build/libvips/libvips.a "$prefix/lib/libvips.a"
