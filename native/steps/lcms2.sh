# shellcheck shell=bash
# Converts colors to sRGB. Compiled by hand, because the crate that carries the source has no build files. The
# fast-float and threaded plugins are GPL and are not compiled.
mkdir _build
# shellcheck disable=SC2016 # the inner shell expands them
printf '%s\n' src/cms*.c | xargs -P "$JOBS" -I '{}' sh -c \
    '$CC $CFLAGS -fPIC -Iinclude -Isrc -c "$1" -o "_build/$(basename "$1" .c).o"' sh '{}'
$AR rcsD _build/liblcms2.a _build/*.o

prefix=$STAGE$FIXED_PREFIX
install -D -m 644 -t "$prefix/lib" _build/liblcms2.a
install -D -m 644 -t "$prefix/include" include/lcms2.h include/lcms2_plugin.h
write_pkgconfig lcms2 "$VERSION" "color management" -llcms2
