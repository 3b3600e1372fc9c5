# shellcheck shell=bash
# Sourced by build.sh: compiles the libraries of sources.tsv and puts all archives together. Whatever changes the result
# is in this file, steps/, patches/ and the tables: build.sh names the directory of the result after their hash.

# The caller's compiler and flags are not part of the recipe.
choose_compiler() {
    unset AR CPPFLAGS LDFLAGS DESTDIR MAKEFLAGS PKG_CONFIG_LIBDIR
    CC=cc CXX=c++ AR=ar STRIP=strip
    if [ -n "$IS_CROSS" ]; then
        CC=$MACHINE-linux-gnu-gcc CXX=$MACHINE-linux-gnu-g++ AR=$MACHINE-linux-gnu-ar STRIP=$MACHINE-linux-gnu-strip
        export PKG_CONFIG_LIBDIR=/usr/lib/$MACHINE-linux-gnu/pkgconfig:/usr/share/pkgconfig
    fi
    export CC CXX AR STRIP
}

# archive_path FILE: where the compiler finds a static archive; only FILE when it does not.
archive_path() { "$CC" -print-file-name="$1" 2>/dev/null || printf '%s\n' "$1"; }

# These texts must be passed on with the binary. The directories left out are not compiled.
keep_licences() {
    local text
    mkdir -p "$WORK/licences"
    (
        cd "$WORK/source/$1" || exit
        find -L . -maxdepth 4 \( -name plugins -o -name utils -o -name examples -o -name docs -o -name 'test*' -o -name libnsgif \
            -o -name googletest -o -name libwebm -o -name libyuv \) -prune -o \
            -type f \( -iname 'copying*' -o -iname 'licen[sc]e*' -o -name PATENTS \) -print
    ) |
        while IFS= read -r text; do
            text=${text#./}
            cp -L "$WORK/source/$1/$text" "$WORK/licences/$1-${text//\//-}"
        done
}

# unpack NAME: the fetched archive into $WORK/source/NAME, patched. Called where `set -e` has no effect.
unpack() {
    local slashes patch
    rm -rf "${WORK:?}/source/$1"
    mkdir -p "$WORK/source/$1" || return
    slashes=${SOURCE_DIRECTORY//[!\/]/}
    tar xf "$SOURCE_ARCHIVE" -C "$WORK/source/$1" --strip-components=$((${#slashes} + 1)) "$SOURCE_DIRECTORY" || return
    for patch in "$RECIPE/patches/$1"-*.patch; do
        [ ! -f "$patch" ] || patch -d "$WORK/source/$1" -p1 --batch <"$patch" || return
    done
}

# run_step NAME: a file of steps/, in the unpacked source.
run_step() {
    (
        cd "$WORK/source/$1" || exit
        bash -euo pipefail -c '. "$1"; . "$2"' step "$RECIPE/steps/helpers.sh" "$RECIPE/steps/$1.sh"
    )
}

build_libraries() {
    local name version number=0 count started
    count=$(table sources.tsv | wc -l)
    while IFS=$'\t' read -r name version _; do
        number=$((number + 1))
        [ ! -e "$WORK/done/$name" ] || continue
        printf '[%d/%d] %s %s … ' "$number" "$count" "$name" "$version"
        started=$SECONDS
        fetch_source "$name" "$version"
        { unpack "$name" && VERSION=$version run_step "$name"; } >>"$LOG" 2>&1 </dev/null ||
            log_end "$name $version could not be built"
        keep_licences "$name"
        rm -rf "${WORK:?}/source/$name"
        touch "$WORK/done/$name"
        printf '%d s\n' $((SECONDS - started))
    done < <(table sources.tsv)
}

# installed_version PACKAGE MODULE: the machine's version of a library that is copied, not built.
installed_version() {
    local version
    case $2 in
    gcc) "$CXX" -dumpfullversion && return ;;
    glibc) version=$(getconf GNU_LIBC_VERSION) && version=${version#glibc } ;;
    *) version=$(pkg-config --modversion "$2") ;;
    esac
    # Debian's own version says which security fixes are in.
    debian_version "$1" | sed 's/^[0-9]*://' | grep . || printf '%s\n' "${version:-unknown}"
}

# is_linked ARCHIVES: whether there is any archive of a library that only some Debian releases have.
is_linked() {
    local archive
    for archive in $1; do
        [ "$archive" = "${archive%\?}" ] || [ -f "$(archive_path "${archive%\?}")" ] || continue
        return 0
    done
    return 1
}

# Only archives, and all of them, in one directory: the linker given that directory can pick no shared library.
assemble() {
    local name package module archives archive path out=$WORK/out
    rm -rf "$out"
    mkdir -p "$out/lib"
    cp -R "$WORK/licences" "$out/"
    cp "$STAGE$FIXED_PREFIX"/lib/*.a "$out/lib/"
    # build.rs compiles the shims of src/render/codec against these.
    mkdir "$out/include"
    cp -R "$STAGE$FIXED_PREFIX/include/aom" "$STAGE$FIXED_PREFIX/include/dav1d" "$STAGE$FIXED_PREFIX/include/jxl" \
        "$out/include/"
    table sources.tsv | awk -F '\t' '{ print $1, $2 }' | tac >"$out/versions.txt"
    while IFS=$'\t' read -r name package module archives _; do
        is_linked "$archives" || continue
        printf '%s %s\n' "$name" "$(installed_version "$package" "$module")" >>"$out/versions.txt"
        if [ -f "/usr/share/doc/$package/copyright" ]; then
            cp -L "/usr/share/doc/$package/copyright" "$out/licences/$name-copyright"
        fi
        [ "$archives" != - ] || continue
        for archive in $archives; do
            path=$(archive_path "${archive%\?}")
            if [ -f "$path" ]; then
                cp -L "$path" "$out/lib/"
            elif [ "$archive" = "${archive%\?}" ]; then
                fail "this machine has no $archive; Debian's package for it is $package"
            fi
        done
    done < <(table archives.tsv)
    debian_watch_list >"$out/watch.txt"
    touch "$out/complete"
    rm -rf "$RESULT"
    mv "$out" "$RESULT"
}

# compile: the whole result, into $RESULT.
compile() {
    WORK=$RESULT.work
    STAGE=$WORK/stage
    JOBS=$(nproc)
    mkdir -p "$WORK/done" "$STAGE$FIXED_PREFIX/lib/pkgconfig"
    export RECIPE FIXED_PREFIX STAGE JOBS WORK MACHINE IS_CROSS
    # These libraries read untrusted bytes: Debian's hardening. The prefix map keeps this machine's paths out of them.
    export CFLAGS="-O3 -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 \
-ffunction-sections -fdata-sections -ffile-prefix-map=$WORK/source="
    export CXXFLAGS=$CFLAGS
    # Nothing unwinds through C: half a megabyte of tables less.
    CFLAGS+=" -fno-asynchronous-unwind-tables"
    export PKG_CONFIG_PATH=$STAGE$FIXED_PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
    export LC_ALL=C.UTF-8

    build_libraries
    assemble
    rm -rf "$WORK"
}
