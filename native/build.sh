#!/usr/bin/env bash
# Builds the static C libraries the server links, into a cache directory named after this recipe.
set -euo pipefail

RECIPE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${S3IMAGESERVER_NATIVE_ROOT:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/s3imageserver}
# Compiled into the libraries as their prefix. It must not exist: nothing is to be loaded from there.
FIXED_PREFIX=/nonexistent

usage() {
    cat <<'USAGE'
usage: native/build.sh                  build what is missing (quick when nothing is)
       native/build.sh --where          print the directory of the finished build, building nothing
       native/build.sh --packages       print the Debian packages the build needs
       native/build.sh --check-sources  ask every place of every source, print a table; exit status 1 when a source
                                        has no good place

environment:
  NATIVE_SOURCES             directory with an archive of each source (places.tsv lists them): nothing is fetched then
  S3IMAGESERVER_NATIVE_ROOT  where builds are kept (default: ~/.cache/s3imageserver)
  TARGET                     x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu (default: this machine)
USAGE
}

fail() {
    printf '%s\n' "native/build.sh: $*" >&2
    exit 1
}

# table FILE: its lines without comments.
table() { sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$RECIPE/$1"; }

# shellcheck source=native/fetch.sh
. "$RECIPE/fetch.sh"
# shellcheck source=native/debian.sh
. "$RECIPE/debian.sh"

# Sets MACHINE, the processor the libraries are for, and IS_CROSS.
choose_target() {
    MACHINE=$(uname -m)
    IS_CROSS=
    [ -n "${TARGET:-}" ] || return 0
    case $TARGET in
    x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
    *) fail "TARGET=$TARGET: only x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu are known" ;;
    esac
    [ "${TARGET%%-*}" = "$MACHINE" ] || IS_CROSS=yes
    MACHINE=${TARGET%%-*}
}

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

# What the result depends on: the recipe, the target, and Debian's versions of the archives that are copied (a security
# update of a library must lead to a new build).
recipe_hash() {
    {
        cd "$RECIPE"
        sha256sum build.sh sources.tsv archives.tsv quantizr.h steps/*.sh patches/*.patch
        printf '%s\n' "$MACHINE"
        debian_versions
    } | sha256sum | cut -c 1-16
}

# What is missing where this recipe can't install packages itself.
check_by_hand() {
    local tool name package archives archive path missing=
    for tool in "$CC" "$CXX" make patch python3 pkg-config meson ninja cmake xz; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ "$MACHINE" != x86_64 ] || command -v nasm >/dev/null || missing+=" nasm"
    while IFS=$'\t' read -r name package _ archives _; do
        [ "$archives" != - ] || continue
        for archive in $archives; do
            path=$(archive_path "${archive%\?}")
            [ -f "$path" ] || [ "$archive" != "${archive%\?}" ] || missing+=" $archive"
        done
    done < <(table archives.tsv)
    [ -n "$missing" ] || return 0
    cat >&2 <<HELP
native/build.sh installs packages on Debian 12, Debian 13 and their derivatives only. To build here, install
  * gcc, g++, make, patch, python3, pkg-config, meson (1.0 or newer), ninja, cmake, xz and, on x86-64, nasm,
  * the headers and the static archives (.a, position independent) of
      $(table archives.tsv | cut -f 1 | grep -v -e libstdc++ -e glibc | paste -sd ' ')
and run make again. The sources of the other libraries are fetched. The Debian packages are:
  $(packages | paste -sd ' ')
Missing now:$missing
HELP
    exit 1
}

# archive_path FILE: where the compiler finds a static archive; only FILE when it does not.
archive_path() { "$CC" -print-file-name="$1" 2>/dev/null || printf '%s\n' "$1"; }

# log_end SENTENCE: why it failed, with the end of the log.
log_end() {
    printf '\n' >&2
    tail -n 30 "$LOG" >&2
    fail "$1; the whole log is $LOG"
}

# These texts must be passed on with the binary. The directories left out are not compiled.
keep_licences() {
    local text
    mkdir -p "$WORK/licences"
    (
        cd "$WORK/source/$1"
        find -L . -maxdepth 4 \( -name plugins -o -name utils -o -name examples -o -name docs -o -name 'test*' -o -name googletest -o -name libwebm -o -name libyuv \) -prune -o \
            -type f \( -iname 'copying*' -o -iname 'licen[sc]e*' -o -name PATENTS \) -print
    ) |
        while IFS= read -r text; do
            text=${text#./}
            cp -L "$WORK/source/$1/$text" "$WORK/licences/$1-${text//\//-}"
        done
}

# unpack NAME: the fetched archive into $WORK/source/NAME, patched.
unpack() {
    local slashes patch
    rm -rf "${WORK:?}/source/$1"
    mkdir -p "$WORK/source/$1"
    slashes=${SOURCE_DIRECTORY//[!\/]/}
    tar xf "$SOURCE_ARCHIVE" -C "$WORK/source/$1" --strip-components=$((${#slashes} + 1)) "$SOURCE_DIRECTORY"
    for patch in "$RECIPE/patches/$1"-*.patch; do
        [ ! -f "$patch" ] || patch -d "$WORK/source/$1" -p1 --batch <"$patch"
    done
}

# run_step NAME: a file of steps/, in the unpacked source.
run_step() {
    (
        cd "$WORK/source/$1"
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

# Only archives, and all of them, in one directory: the linker given that directory can pick no shared library.
assemble() {
    local name package module archives archive path out=$WORK/out
    rm -rf "$out"
    mkdir -p "$out/lib"
    cp -R "$WORK/licences" "$out/"
    cp "$STAGE$FIXED_PREFIX"/lib/*.a "$out/lib/"
    # build.rs compiles src/render/av1/shim.c against these.
    mkdir "$out/include"
    cp -R "$STAGE$FIXED_PREFIX/include/aom" "$STAGE$FIXED_PREFIX/include/dav1d" "$out/include/"
    table sources.tsv | awk -F '\t' '{ print $1, $2 }' | tac >"$out/versions.txt"
    while IFS=$'\t' read -r name package module archives _; do
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

choose_target
choose_compiler
case ${1:-} in
'') ;;
--where) exec printf '%s\n' "$ROOT/native-$(recipe_hash)" ;;
--packages) packages && exit ;;
--check-sources) check_sources && exit || exit ;;
--help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

mkdir -p "$ROOT"
if is_debian; then install_packages; fi
# The versions of packages installed just now are part of it.
RESULT=$ROOT/native-$(recipe_hash)
[ ! -e "$RESULT/complete" ] || exit 0
is_debian || check_by_hand

# Two builds at once: the second waits, and then finds everything done.
exec 9>"$RESULT.lock"
flock 9
[ ! -e "$RESULT/complete" ] || exit 0

WORK=$RESULT.work
LOG=$RESULT.log
STAGE=$WORK/stage
JOBS=$(nproc)
mkdir -p "$WORK/done" "$STAGE$FIXED_PREFIX/lib/pkgconfig"
: >"$LOG"
export RECIPE FIXED_PREFIX STAGE JOBS WORK MACHINE IS_CROSS
# These libraries read untrusted bytes: Debian's hardening. The prefix map keeps this machine's paths out of them.
export CFLAGS="-O3 -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 \
-ffunction-sections -fdata-sections -ffile-prefix-map=$WORK/source="
export CXXFLAGS=$CFLAGS
export PKG_CONFIG_PATH=$STAGE$FIXED_PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export LC_ALL=C.UTF-8

printf 'building the native libraries into %s (log: %s)\n' "$RESULT" "$LOG"
build_libraries
assemble
rm -rf "$WORK"
printf 'native libraries ready: %s\n' "$RESULT"
