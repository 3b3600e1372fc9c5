# shellcheck shell=bash
# libvips, with the loaders and savers of JPEG, PNG and WebP and nothing else.
setup_meson -Dauto_features=disabled -Dprefer_static=true \
    -Dmodules=disabled -Dintrospection=disabled -Dcplusplus=false -Ddeprecated=false -Dexamples=false \
    -Djpeg=enabled -Dspng=enabled -Dwebp=enabled \
    -Dexif=disabled -Dheif=disabled -Dlcms=enabled -Dzlib=enabled -Dhighway=enabled \
    -Dnsgif=false -Dppm=false -Danalyze=false -Dradiance=false
# The archive alone, without the command-line tools.
ninja -C _build -j "$JOBS" libvips/libvips.a
install -D -m 644 _build/libvips/libvips.a "$STAGE$FIXED_PREFIX/lib/libvips.a"
