# shellcheck shell=bash
# Sourced by every step. The driver gives STAGE (where a library is installed), FIXED_PREFIX (the path compiled into
# it), VERSION, MACHINE (the target's processor), IS_CROSS and JOBS; the step runs in the unpacked source.

# build_meson OPTION…: configure as a static library, compile, stage.
build_meson() {
    setup_meson "$@"
    ninja -C _build -j "$JOBS"
    DESTDIR="$STAGE" meson install -C _build --no-rebuild
    stage_pkgconfig
}

setup_meson() {
    local cross=()
    if [ -n "$IS_CROSS" ]; then
        write_meson_cross_file >_cross.ini
        cross=(--cross-file _cross.ini)
    fi
    meson setup _build --prefix="$FIXED_PREFIX" --libdir=lib --buildtype=release --default-library=static \
        --wrap-mode=nofallback "${cross[@]}" "$@"
}

write_meson_cross_file() {
    cat <<INI
[binaries]
c = '$CC'
cpp = '$CXX'
ar = '$AR'
strip = '$STRIP'
pkgconfig = 'pkg-config'
pkg-config = 'pkg-config'

[properties]
pkg_config_libdir = '$PKG_CONFIG_LIBDIR'
needs_exe_wrapper = true

[host_machine]
system = 'linux'
cpu_family = '$MACHINE'
cpu = '$MACHINE'
endian = 'little'
INI
}

# build_cmake OPTION…: the same for the libraries that use cmake.
build_cmake() {
    local cross=()
    if [ -n "$IS_CROSS" ]; then
        cross=(-DCMAKE_SYSTEM_NAME=Linux "-DCMAKE_SYSTEM_PROCESSOR=$MACHINE")
    fi
    cmake -S . -B _build -G Ninja -DCMAKE_INSTALL_PREFIX="$FIXED_PREFIX" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON "${cross[@]}" "$@"
    ninja -C _build -j "$JOBS"
    DESTDIR="$STAGE" cmake --install _build
    stage_pkgconfig
}

# The .pc files name FIXED_PREFIX, which does not exist; the next library must find the staged files.
stage_pkgconfig() {
    sed -i "s|^prefix=.*|prefix=$STAGE$FIXED_PREFIX|" "$STAGE$FIXED_PREFIX"/lib/pkgconfig/*.pc
}

# write_pkgconfig NAME VERSION DESCRIPTION LIBS: for what has no .pc file of its own.
write_pkgconfig() {
    local prefix=$STAGE$FIXED_PREFIX
    cat >"$prefix/lib/pkgconfig/$1.pc" <<PC
Name: $1
Description: $3
Version: $2
Cflags: -I$prefix/include
Libs: -L$prefix/lib $4
PC
}
