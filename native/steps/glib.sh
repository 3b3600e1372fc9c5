# shellcheck shell=bash
# glib, gobject, gmodule and gio. 2.74 is the newest that Debian 12's meson 1.0 can build.
build_meson \
    -Dlibmount=disabled -Dselinux=disabled -Dxattr=false -Dnls=disabled -Dlibelf=disabled \
    -Dtests=false -Dglib_debug=disabled -Dman=false -Dgtk_doc=false
