# shellcheck shell=bash
# glib, gobject, gmodule and gio. 2.74 is the newest that Debian 12's meson 1.0 can build.
setup_meson \
    -Dlibmount=disabled -Dselinux=disabled -Dxattr=false -Dnls=disabled -Dlibelf=disabled \
    -Dtests=false -Dglib_debug=disabled -Dman=false -Dgtk_doc=false
# The archives alone, without the command-line tools.
ninja -C _build -j "$JOBS" glib/libglib-2.0.a gobject/libgobject-2.0.a gmodule/libgmodule-2.0.a \
    gthread/libgthread-2.0.a gio/libgio-2.0.a
DESTDIR="$STAGE" meson install -C _build --no-rebuild --tags devel
# libvips' build needs these two scripts of the tools.
install -D -t "$STAGE$FIXED_PREFIX/bin" _build/gobject/glib-mkenums _build/gobject/glib-genmarshal
stage_pkgconfig
