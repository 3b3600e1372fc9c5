# shellcheck shell=bash
# Sourced by every step. The driver gives STAGE (where a library is installed), FIXED_PREFIX (the path
# compiled into it) and JOBS; the step runs in the unpacked source.

# build_meson OPTION…: configure as a static library, compile, stage.
build_meson() {
    setup_meson "$@"
    ninja -C _build -j "$JOBS"
    DESTDIR="$STAGE" meson install -C _build --no-rebuild
    stage_pkgconfig
}

setup_meson() {
    meson setup _build --prefix="$FIXED_PREFIX" --libdir=lib --buildtype=release --default-library=static \
        --wrap-mode=nofallback "$@"
}

# build_cmake OPTION…: the same for the libraries that use cmake.
build_cmake() {
    cmake -S . -B _build -G Ninja -DCMAKE_INSTALL_PREFIX="$FIXED_PREFIX" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON "$@"
    ninja -C _build -j "$JOBS"
    DESTDIR="$STAGE" cmake --install _build
    stage_pkgconfig
}

# The .pc files name FIXED_PREFIX, which does not exist; the next library must find the staged files.
stage_pkgconfig() {
    sed -i "s|^prefix=.*|prefix=$STAGE$FIXED_PREFIX|" "$STAGE$FIXED_PREFIX"/lib/pkgconfig/*.pc
}
